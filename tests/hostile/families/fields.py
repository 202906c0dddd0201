"""Every field with values of the wrong type, out of range, and at the edge of it."""

from typing import Any

from tests.hostile.case import CAMERA, COMPLETED, PLAIN, Cases, as_json, case, rejected, shown

_LONG = "x" * 3000

#: Refused with the name of the field.
_REFUSED: dict[str, tuple[Any, ...]] = {
    "camera_id": (5, True, [], {}, "", "a/b", "a b", "a" * 65, "käse", "a\n", "+", "#", "../x"),
    "motion_intensity": ("0.5", True, [], {}, "high", -0.01, 1.01, 1e308, 10**30, _LONG),
    "priority": (1, 0, True, [], {}, "", "HIGH", "urgent", "critical ", "critical\r\nX: y", _LONG),
    "location": (5, True, [], {}, "x" * 257),
    "metadata": (5, True, [], "x", None),
    "prompt": (5, True, [], {}, "", "x" * 2001),
    "length": (5, True, [], {}, "", "LONG", "tiny", _LONG),
    "max_age": (0, -1, "soon", [], {}, 604_800.001, 1e308, _LONG),
    "max_attempts": (0, 11, -1, 1.5, "many", [], {}, 10**18, _LONG),
    "frame_data": (5, True, [], {}, ""),
    "webhook_url": (5, True, [], {}, "x" * 2049),
}

#: None of a sender's business: fields of our own records, of other programs and of languages.
_UNKNOWN = (
    "no_such_field",
    "received_at",
    "sha256",
    "num_bytes",
    "status",
    "attempts",
    "webhook_is_trusted",
    "publish_image",
    "similarity",
    "response_topic",
    "correlation_data",
    "instance",
    "kind",
    "model",
    "__class__",
    "__proto__",
    "\u0000",
    "frame_data\u0000",
    "x" * 3000,
)

_ACCEPTED: dict[str, tuple[Any, ...]] = {
    "camera_id": (None, CAMERA),
    "motion_intensity": (None, 0, 1, 0.0, 1.0, -0.0, 5e-324, 0.7999999999999999),
    "priority": (None, "immediate", "background"),
    "location": (None, "", "x" * 256),
    "metadata": ({},),
    "prompt": (None, " ", "x" * 2000),
    "length": (None, "short", "long"),
    "max_age": (None, 604_800, 60.5),
    "max_attempts": (None, 1, 10),
    "frame_url": (None,),
    "webhook_url": (None,),
    "webhook_headers": (None, {}),
    "timestamp": (None,),
    "tasks": (None,),
    "job_id": (None,),
}


def cases() -> Cases:
    for field, values in _REFUSED.items():
        for value in values:
            yield case(f"{field}: {shown(value)}", as_json(**{field: value}), rejected("bad_field"))
    for field in _UNKNOWN:
        yield case(f"unknown: {shown(field)}", as_json(**{field: 1}), rejected("bad_field"))
    for field, values in _ACCEPTED.items():
        for value in values:
            yield case(
                f"{field}: {shown(value)}", as_json(**{field: value}), COMPLETED, image=PLAIN
            )
    for camera_id, code in (
        ("nobody", "camera_mismatch"),
        ("bridge", "bad_field"),  # is no camera's name at all
        (CAMERA.lower(), "camera_mismatch"),
    ):
        payload = as_json(camera_id=camera_id)
        yield case(f"camera_id: {shown(camera_id)}", payload, rejected(code))
    everything_wrong = {field: values[0] for field, values in _REFUSED.items()}
    yield case("every field wrong", as_json(**everything_wrong), rejected("bad_field"))
