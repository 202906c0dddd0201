"""Sizes at the limits, one below and one above; limits of fields are in their families."""

import base64
import json

from tests.hostile.case import (
    BROKER,
    CAMERA,
    COMPLETED,
    PLAIN,
    Cases,
    as_json,
    case,
    picture,
    rejected,
)

LIMIT = 4 << 20  #: of an image, by default
PACKET_LIMIT = 6 << 20  #: of the broker, as it is shipped and in the tests
_TOO_LARGE = rejected("payload_too_large")


def cases() -> Cases:
    for extra in (-1, 0, 1):
        ends = COMPLETED if extra <= 0 else _TOO_LARGE
        image = PLAIN.ljust(LIMIT + extra, b"\0")
        name = f"the limit{extra:+}" if extra else "the limit"
        text = base64.b64encode(image)
        yield case(f"image of {name}", image, ends, image=image)
        yield case(f"base64 of {name}", text, ends, image=image)
        yield case(f"data URI of {name}", b"data:image/jpeg;base64," + text, ends, image=image)
        document = json.dumps({"frame_data": text.decode()}).encode()
        yield case(f"JSON of {name}", document, ends, image=image)
    yield from _beside_the_image()
    for num_bytes in (1, 2, 3, 4, 11, 12):
        codes = ("not_an_image", "image_truncated")
        yield case(f"{num_bytes} bytes", PLAIN[:num_bytes], rejected(*codes))
    for payload, name in ((b"a" * LIMIT, "base64 of nothing"), (b"\0" * (LIMIT + 1), "zeros")):
        expect = rejected("not_an_image", "payload_too_large")
        yield case(f"4 MiB: {name}", payload, expect)
    blanks = (b" \n" * (PACKET_LIMIT // 2))[: PACKET_LIMIT - 100]
    yield case("6 MB of blanks", blanks, rejected("not_an_image"))
    yield case(
        "6 MB of blanks behind a brace",
        b"{" + blanks[1:],
        rejected("bad_json", "payload_too_large"),
    )
    above = b"\xff\xd8\xff" + bytes(PACKET_LIMIT)
    yield case("above the broker's limit", above, BROKER, is_alone=True, qos=1)


def _beside_the_image() -> Cases:
    """64 KiB of a JSON frame may be something else than the image, 4 MiB of it as base64."""
    most = (LIMIT + 2) // 3 * 4 + 64 * 1024
    for extra in (-1, 0, 1):
        empty = as_json(camera_id=CAMERA)
        document = empty[:-1].ljust(most + extra - 1) + b"}"
        ends = COMPLETED if extra <= 0 else _TOO_LARGE
        yield case(f"JSON of {most + extra:,} bytes", document, ends, image=PLAIN)
    few = json.dumps({"frame_data": base64.b64encode(picture()).decode(), "metadata": {}}).encode()
    for num_commas, ends in ((32_768, COMPLETED), (32_769, rejected("bad_json"))):
        commas = b'"location":"x",' * (num_commas - few.count(b","))
        yield case(f"{num_commas:,} values", b"{" + commas + few[1:], ends)
    for num_lists, code in ((4096, "bad_field"), (4097, "bad_json")):
        lists = '{"a":[' + ",".join(["[]"] * (num_lists - 3)) + "]}"
        name = f"{num_lists:,} lists"
        # As many as may be read are more than metadata may have bytes.
        yield case(name, as_json()[:-1] + f',"metadata":{lists}}}'.encode(), rejected(code))
