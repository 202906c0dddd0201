"""Numbers in JSON and in properties: what only looks like one, and what is too much."""

from tests.hostile.case import COMPLETED, PLAIN, Case, Cases, case, rejected, shown, with_text
from tests.hostile.wire import user_property

_FIELDS = ("motion_intensity", "max_age", "max_attempts")

#: As JSON text, by field; all are sound there.
_SOUND = {
    "motion_intensity": ("1e-400", "-0", "1E0", "0.1e1", "0." + "3" * 400, "10e-1"),
    "max_age": ("6.048e5", "60", "604800.0", "60.000000000000001"),
    "max_attempts": ("1", "10", "2.0", "1e1"),
}
#: The same, out of range.
_OUTSIDE = {
    "motion_intensity": ("1.0000000000000002", "-1e-300", "1e308", "18446744073709551616"),
    "max_age": ("-0.0", "0e9", "1e300", "604800.0000001", "-1e-300", "9" * 4000),
    "max_attempts": ("1.0000001", "-1", "0", "11", "1e3", "9" * 400, "-9223372036854775809"),
}
#: No JSON at all.
_NO_JSON = (
    "+1",
    ".5",
    "1.",
    "1_0",
    "01",
    "0x1",
    "1e",
    "1e+",
    "--1",
    "1,0",
    "½",
    "\uff11",
    "1f",
    "()",
)
#: As the text of a property.
_NO_NUMBERS = ("", " ", "nan", "inf", "-Infinity", "1e999", "0x1", "1,0", "½", "five")


def cases() -> Cases:
    for field in _FIELDS:
        for text in _SOUND[field]:
            yield case(f"{field}: {shown(text)}", with_text(field, text), COMPLETED, image=PLAIN)
        for text in _OUTSIDE[field]:
            yield case(f"{field}: {shown(text)}", with_text(field, text), rejected("bad_field"))
            if len(text) < 100:
                yield _property(field, text)
        for text in _NO_NUMBERS:
            yield _property(field, text)
    for text in ("1e-300", "0.0000001", "5e-324"):
        expired = frozenset({"expired expired"})
        yield case(f"max_age: {text}", with_text("max_age", text), expired)
    for text in _NO_JSON:
        yield case(f"max_age: {shown(text)}", with_text("max_age", text), rejected("bad_json"))
    for text in ("9" * 4301, "-" + "9" * 5000, "1e" + "9" * 20):
        yield case(f"max_age: {shown(text)}", with_text("max_age", text), rejected("bad_json"))


def _property(field: str, text: str) -> Case:
    name = f"{field}: {shown(text)}, as a property"
    properties = user_property(field, text)
    return case(name, PLAIN, rejected("bad_field"), properties=properties)
