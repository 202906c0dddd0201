"""Bodies that are not what they should be: a sentence, whatever they are."""

from typing import Any

import httpx
import pytest

from gateway.app import make_app
from tests.unit.gateway.test_broken_streams import OPTIONS, Model

_FORM = "multipart/form-data; boundary=x"
_FIELDS = "application/x-www-form-urlencoded"
_HEAD = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
_FILE = _HEAD + b"abc\r\n"
_FIELD = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n'
_END = b"--x--\r\n"


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        ("multipart/form-data", _FILE + _END),
        (_FORM, b"no form"),
        (_FORM, _FILE[:30]),
        (_FORM, _HEAD + b"abc"),
        (_FORM, b"--x\r\n" * 5000),
        (_FORM, b"--x\r\nA: " + b"a" * 100_000 + b"\r\n\r\n"),
        (_FORM, b"--x\r\nContent-Disposition: form-data\r\n\r\nabc\r\n" + _END),
        (_FORM, b"--x\r\n\r\nabc\r\n" + _END),
        (_FORM, _FIELD * 50 + _END),
        (_FORM, _FILE * 2 + _END),
        (_FORM, b"\0" * 100),
        (_FORM + "; charset=nonsense", _FILE + _END),
        ("multipart/form-data; boundary=" + "y" * 5000, b"abc"),
        (_FIELDS, b"%%%=&&&===\xff\0"),
        (_FIELDS, b"a=b&" * 100_000),
        ("image/jpeg", b""),
        ("application/json", b""),
    ],
)
async def test_what_cannot_be_read_is_refused(media_type: str, body: bytes) -> None:
    answer = await _post("/v1/query", media_type, body)

    assert answer.status_code == 400
    assert answer.json()["message"]


@pytest.mark.parametrize("media_type", ["application/json", "image/jpeg"])
async def test_what_is_too_large_is_refused(media_type: str) -> None:
    answer = await _post("/v1/caption", media_type, b" " * (2 * OPTIONS.max_image_bytes))

    assert answer.status_code == 413
    assert "bytes" in answer.json()["message"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (_HEAD + b"abc", "the form is cut"),
        (_FILE + _FILE.replace(b'"file"', b'"more"') + _END, "one picture, not file, more"),
    ],
)
async def test_what_is_wrong_with_a_form_is_said(body: bytes, said: str) -> None:
    answer = await _post("/v1/caption", _FORM, body)

    assert (answer.status_code, said in answer.json()["message"]) == (400, True)


async def test_a_file_that_is_too_large_is_refused() -> None:
    body = _HEAD + b"a" * (OPTIONS.max_image_bytes + 1) + b"\r\n" + _END

    answer = await _post("/v1/caption", _FORM, body)

    assert (answer.status_code, answer.json()["error"]["param"]) == (413, "file")


async def _post(path: str, media_type: str, body: bytes) -> httpx.Response:
    backend: Any = Model()
    transport = httpx.ASGITransport(make_app(backend, OPTIONS))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        return await client.post(path, content=body, headers={"Content-Type": media_type})
