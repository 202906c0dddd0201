import time
from collections.abc import Iterable

import httpx
import pytest

from gateway.forms import MOST_PARTS, read_form
from gateway.problems import Problem

_TYPE = "multipart/form-data; boundary=x"


def _part(name: str, value: bytes, further: bytes = b"") -> bytes:
    head = b'Content-Disposition: form-data; name="' + name.encode() + b'"' + further
    return b"--x\r\n" + head + b"\r\n\r\n" + value + b"\r\n"


def _form(parts: Iterable[bytes]) -> bytes:
    return b"".join(parts) + b"--x--\r\n"


def test_texts_and_files_are_told_apart() -> None:
    body = _form(
        [
            _part("camera_id", "Tür".encode()),
            _part("file", b"\xff\r\n--y", b'; filename="a.jpg"\r\nContent-Type: image/jpeg'),
        ]
    )
    form = read_form(body, _TYPE)
    assert form.texts == {"camera_id": "Tür"}
    file = form.files["file"]
    assert (file.name, file.media_type, file.content) == ("a.jpg", "image/jpeg", b"\xff\r\n--y")


def test_form_of_a_client_is_read() -> None:
    request = httpx.Request(
        "POST", "http://x", files={"file": ("ä.jpg", bytes(range(256)))}, data={"prompt": "a\r\nb"}
    )
    form = read_form(request.read(), request.headers["content-type"])
    assert form.files["file"].content == bytes(range(256))
    assert form.texts == {"prompt": "a\r\nb"}


def test_preamble_and_epilogue_are_left_alone() -> None:
    assert read_form(b"words\r\n" + _form([_part("a", b"1")]) + b"words", _TYPE).texts == {"a": "1"}


@pytest.mark.parametrize(
    ("body", "content_type", "said"),
    [
        (_form([]), "multipart/form-data", "no boundary"),
        (_form([]), "multipart/form-data; boundary=" + "x" * 71, "no boundary"),
        (b"", _TYPE, "is cut"),
        (_part("a", b"1"), _TYPE, "is cut"),
        (_form([_part("a", b"1")])[:-6], _TYPE, "is cut"),
        (_form([b"--xy\r\n\r\n"]), _TYPE, "no headers"),
        (_form([b"--x\r\nA: b\r\n\r\n1\r\n"]), _TYPE, "no name"),
        (_form([_part("", b"1")]), _TYPE, "no name"),
        (_form([_part("a", b"\xff")]), _TYPE, "a: is not UTF-8"),
        (_form([_part("a", bytes(70_000))]), _TYPE, "a: is too long"),
        (_form([_part("a", b"", b"\r\nB: " + b"c" * 5000)]), _TYPE, "no headers"),
        (_form([_part("a", b"1")] * (MOST_PARTS + 1)), _TYPE, "more than 64 parts"),
    ],
)
def test_bad_form_is_refused(body: bytes, content_type: str, said: str) -> None:
    with pytest.raises(Problem, match=said):
        read_form(body, content_type)


def test_form_of_the_most_parts_is_read() -> None:
    parts = [_part(f"a{number}", b"1") for number in range(MOST_PARTS)]
    assert len(read_form(_form(parts), _TYPE).texts) == MOST_PARTS


@pytest.mark.parametrize("bomb", [b"\r\n--x", b"\r\n--", b"\r\n", b"-", b"--x\r\n\r\n"])
def test_bomb_costs_no_more_than_a_picture(bomb: bytes) -> None:
    body = bomb * ((8 << 20) // len(bomb))
    began = time.process_time()
    with pytest.raises(Problem):
        read_form(body, _TYPE)
    assert time.process_time() - began < 1  # some milliseconds on a free machine
