"""JSON that is broken, foreign, deep, wide, or says a thing twice."""

import json

from tests.hostile.case import (
    BASE64,
    CAMERA,
    COMPLETED,
    PLAIN,
    Cases,
    as_json,
    case,
    rejected,
    with_text,
)

_BAD_JSON = rejected("bad_json")
_BAD_FIELD = rejected("bad_field")
_NOT_AN_IMAGE = rejected("not_an_image")


def cases() -> Cases:
    sound = as_json()
    for name, payload in _sound(sound).items():
        yield case(name, payload, COMPLETED, image=PLAIN)
    for name, payload in _broken(sound).items():
        yield case(name, payload, _BAD_JSON)
    for name, payload in _incomplete().items():
        yield case(name, payload, _BAD_FIELD)
    for name, payload in _other_documents(sound).items():
        yield case(name, payload, _NOT_AN_IMAGE)
    yield case("six megabytes of another field", as_json(a="x" * 5_800_000), _TOO_LARGE)


_TOO_LARGE = rejected("payload_too_large")


def _sound(sound: bytes) -> dict[str, bytes]:
    doubled = f'{{"camera_id":"nobody","camera_id":"{CAMERA}",'.encode() + sound[1:]
    return {
        "byte order mark": b"\xef\xbb\xbf" + sound,
        "white space around": b" \t\r\n" + sound + b"\n\n",
        "white space inside": sound.replace(b":", b" \n : \t "),
        "the last of two keys counts": doubled,
        "escaped field name": sound.replace(b"frame_data", b"frame\\u005fdata"),
        "escaped solidus": sound.replace(b"/", b"\\/"),
    }


def _broken(sound: bytes) -> dict[str, bytes]:
    return {
        "an open brace": b"{",
        "cut off": sound[:-2],
        "cut off in a key": b'{"frame_da',
        "cut off after a colon": b'{"frame_data":',
        "a text that does not end": b'{"frame_data":"' + b"A" * 100_000,
        "comma at the end": sound[:-1] + b",}",
        "two documents": sound + sound,
        "words after it": sound + b" and more",
        "zero byte after it": sound + b"\0",
        "comment": b"{/* */" + sound[1:],
        "single quotes": sound.replace(b'"', b"'"),
        "bare keys": sound.replace(b'"frame_data"', b"frame_data"),
        "bare line end in a text": with_text("location", '"a\nb"'),
        "bare tab in a text": with_text("location", '"a\tb"'),
        "unknown escape": with_text("location", '"\\x41"'),
        "half an escape": with_text("location", '"\\u00"'),
        "NaN": with_text("max_age", "NaN"),
        "Infinity": with_text("max_age", "Infinity"),
        "minus Infinity": with_text("motion_intensity", "-Infinity"),
        "infinite by exponent": with_text("max_age", "1e999"),
        "infinite in a list": with_text("metadata", '{"a":[1e999]}'),
        "five thousand digits": with_text("max_age", "9" * 5000),
        "hexadecimal": with_text("max_attempts", "0x3"),
        "octal": with_text("max_attempts", "03"),
        "not UTF-8": b'{"\xff\xfe":1}',
        "Latin-1": with_text("location", '"x"').replace(b"x", b"\xe9"),
        "overlong UTF-8": with_text("location", '"x"').replace(b'"x"', b'"\xc0\xaf"'),
        "UTF-8 of a surrogate": with_text("location", '"\ud800"'),
        "UTF-16 without a mark": as_json().decode().encode("utf-16-le"),
        "deep objects": b'{"a":' * 20_000,
        "deep objects, closed": b'{"metadata":' + b'{"a":' * 200 + b"1" + b"}" * 200 + b"}",
        "deep lists": b'{"metadata":' + b"[" * 1000 + b"]" * 1000 + b"}",
        "a million brackets": b'{"metadata":' + b"[" * 1_000_000,
        "seventeen levels": with_text("metadata", '{"a":' * 16 + "1" + "}" * 16),
        "many lists": with_text("metadata", "[" + "[]," * 5000 + "[]]"),
        "many values": with_text("metadata", "[" + "1," * 40_000 + "1]"),
    }


def _incomplete() -> dict[str, bytes]:
    data = BASE64.decode()
    contents: dict[str, object] = {
        "empty object": {},
        "empty key": {"": 1},
        "only other fields": {"camera_id": CAMERA, "priority": "high"},
        "image in another field": {"image": data},
        "field name in capitals": {"FRAME_DATA": data},
        "field name with a blank": {"frame_data ": data},
        "frame inside a frame": {"frame": {"frame_data": data}},
        "image in a list": {"frame_data": [data]},
        "image and URL": {"frame_data": data, "frame_url": "http://127.0.0.1/1.jpg"},
        "null image": {"frame_data": None},
    }
    return {name: json.dumps(content).encode() for name, content in contents.items()}


def _other_documents(sound: bytes) -> dict[str, bytes]:
    return {
        "list of frames": b"[" + sound + b"]",
        "empty list": b"[]",
        "null": b"null",
        "true": b"true",
        "number": b"12",
        "text": b'"motion"',
        "a million open lists": b"[" * 1_000_000,
        "UTF-16 with a mark": b"\xff\xfe" + as_json().decode().encode("utf-16-le"),
        "behind seventeen blanks": b" " * 17 + sound,
        "XML": b"<?xml version='1.0'?><frame/>",
        "YAML": b"frame_data: !!python/object/apply:os.system ['true']",
        "MessagePack": b"\x81\xaaframe_data\xa1x",
        "pickle": b"cos\nsystem\n(S'true'\ntR.",
    }
