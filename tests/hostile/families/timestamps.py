"""Times: of other epochs, other zones, and of clocks that are wrong."""

from typing import Any

from tests.hostile.case import COMPLETED, PLAIN, Cases, as_json, case, rejected, shown
from tests.hostile.wire import user_property

# Whatever a camera's clock says: its frames are captioned, and the newest caption is the one that
# stays, because newest is by arrival.
_SOUND = (
    "2026-01-01T12:00:00Z",
    "2026-01-01T12:00:00.123456789+01:00",
    "2026-01-01t12:00:00z",
    "2026-01-01 12:00:00+00:00",
    "2026-01-01T12:00:00-12:00",
    "2026-01-01T12:00:00+14:00",
    "2024-02-29T23:59:59Z",
    "1970-01-01T00:00:00Z",
    "1969-12-31T23:59:59Z",
    "1900-01-01T00:00:00Z",
    "2038-01-19T03:14:08Z",
    "2100-01-01T00:00:00Z",
    "9000-12-31T23:59:59Z",
)
#: Dates that exist, but not in every zone; either answer will do.
_AT_THE_ENDS = (
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00+14:00",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59Z",
    "9999-12-31T23:59:59.999999Z",
    "9999-12-31T23:59:59-12:00",
    "9999-12-31T23:59:59-23:59",
    "2026-01-01T12:00:00",  # where no zone is given, there may be a rule for it
    "2026-01-01T24:00:00Z",
    "2016-12-31T23:59:60Z",
    "2026-01-01",
    "2026-01-01T12:00:00." + "9" * 5000 + "Z",
    "2026-01-01T12:00:00\u221201:00",
    "0",
    0,
    1_767_268_800,
    1_767_268_800_000,
    -1,
    0.5,
    1e10,
    1e16,
    253_402_300_799,
    253_402_300_800,
)
_REFUSED: tuple[Any, ...] = (
    "",
    " ",
    "now",
    "12:00",
    "2026-13-01T00:00:00Z",
    "2026-02-30T00:00:00Z",
    "2026-01-01T25:00:00Z",
    "2026-01-01T12:00:00+25:00",
    "0000-01-01T00:00:00Z",
    "10000-01-01T00:00:00Z",
    "-2026-01-01T00:00:00Z",
    "2026-01-01T12:00:00Z; DROP TABLE jobs",
    "2026-01-01T12:00:00[Europe/Berlin]",
    "\uff12\uff10\uff12\uff16-01-01T12:00:00Z",
    True,
    [],
    {},
    1e300,
    10**300,
)


def cases() -> Cases:
    for value in _SOUND:
        yield case(value, as_json(timestamp=value), COMPLETED, image=PLAIN)
        properties = user_property("timestamp", value)
        yield case(f"{value}, as a property", PLAIN, COMPLETED, properties=properties, image=PLAIN)
    either = COMPLETED | rejected("bad_field")
    for edge in _AT_THE_ENDS:
        yield case(shown(edge), as_json(timestamp=edge), either)
    for value in _REFUSED:
        yield case(shown(value), as_json(timestamp=value), rejected("bad_field"))
