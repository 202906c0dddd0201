"""What cameras answer in place of a picture, and what is said of it."""

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.images import ImageLimits
from service.errors import FrameError
from service.triggers.answers import AccessRefusedError, picture_of
from tests.support.factories import make_image

URL = "http://10.0.0.9/api?user=me&password=s3cret"
PICTURE = make_image()


def answered(status: int, body: bytes, **headers: str) -> bytes:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return picture_of(status, httpx.Headers(named), body, URL, ImageLimits())


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_picture_is_taken_by_its_bytes(form: str) -> None:
    image = make_image(form=form)
    assert answered(200, image, content_type="text/html") == image


REOLINK = (
    b'[{"cmd":"Snap","code":1,"error":{"detail":"%s","rspCode":%d,'
    b'"auth_warning_info":{"remain_times":9}}}]'
)


@pytest.mark.parametrize(
    ("status", "body", "headers", "reason"),
    [
        (404, b"no", {}, "answered 404"),
        (500, PICTURE, {}, "answered 500"),
        (206, PICTURE, {}, "answered 206"),
        (302, b"", {"location": "/login?t=s3cret"}, "302, a redirect to another path there"),
        (301, b"", {"location": "https://10.0.0.9/x"}, "a redirect to https://10.0.0.9:"),
        (307, b"", {"location": "http://s3cret@evil/x?s3cret"}, "a redirect to http://evil:"),
        (304, b"", {}, "answered 304"),
        (200, b"", {}, "without a picture: the camera is off"),
        (200, PICTURE, {"x_frigate_offline": "True"}, "says that the camera is offline"),
        (200, b"\n<!DOCTYPE html><p>s3cret", {}, "a web page"),
        (200, b"\xef\xbb\xbf<html>", {}, "a web page"),
        (200, b"<svg xmlns='x'>", {}, "a web page or XML"),
        (200, b'{"success": false, "m": "s3cret"}', {}, "JSON in place of a picture"),
        (200, b"[" * 100_000, {}, "JSON in place of a picture"),
        (200, REOLINK % (b"not support\n\xff", -9), {}, "error -9, not support"),
        (200, b"GIF89a....", {}, "sent a GIF"),
        (200, b"\0\0\0\x20ftypheic", {}, "a HEIC picture"),
        (200, b"\0\0\0\x20ftypisom", {}, "sent a video"),
        (200, b"RIFF....WAVE", {}, "no WebP"),
        (200, b"s3cret", {"content_type": "text/plain; s3cret"}, r"6 bytes \(text/plain\)"),
        (200, PICTURE[:-200], {}, "is cut off"),
        (200, make_image(size=(8, 8)), {}, "8 x 8 pixels"),
    ],
)
def test_what_is_no_picture_is_told_by_its_cause(
    status: int, body: bytes, headers: dict[str, str], reason: str
) -> None:
    with pytest.raises(FrameError, match=reason) as caught:
        answered(status, body, **headers)
    assert not isinstance(caught.value, AccessRefusedError)
    assert caught.value.code == "fetch_failed"
    assert "s3cret" not in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, b""),
        (403, b"<html>"),
        (200, REOLINK % (b"login failed", -7)),
        (200, REOLINK % (b"please login first", -6)),
    ],
)
def test_refused_account_is_told_apart(status: int, body: bytes) -> None:
    with pytest.raises(AccessRefusedError):
        answered(status, body)


@settings(deadline=None, max_examples=50)  # of a loaded machine
@given(
    st.sampled_from(
        [b"", b"{", b'[{"error":', b"<", b"\xff\xd8\xff", b"RIFF", b"\x89PNG\r\n\x1a\n"]
    ),
    st.binary(max_size=300),
)
def test_any_answer_is_a_picture_or_a_sentence(head: bytes, rest: bytes) -> None:
    try:
        answered(200, head + rest)
    except FrameError as error:
        assert error.code == "fetch_failed"
