"""The wrapping of an image: base64 in all its dialects, data URIs, and things that are neither."""

import base64
import gzip
import zlib

from tests.hostile.case import BASE64, COMPLETED, PLAIN, Cases, as_json, case, rejected

_URI = b"data:image/jpeg;base64,"
_NOT_AN_IMAGE = rejected("not_an_image")
_BAD_BASE64 = rejected("bad_base64")


def cases() -> Cases:
    for name, payload in _sound().items():
        yield case(name, payload, COMPLETED, image=PLAIN)
        if not payload.startswith(b"{"):
            wrapped = as_json(frame_data=payload.decode())
            yield case(f"{name}, in JSON", wrapped, COMPLETED, image=PLAIN)
    for name, payload in _bad_base64().items():
        yield case(name, payload, _BAD_BASE64)
        wrapped = as_json(frame_data=payload.decode("latin-1"))
        yield case(f"{name}, in JSON", wrapped, _BAD_BASE64)
    for name, payload in _not_images().items():
        yield case(name, payload, _NOT_AN_IMAGE)
    yield case("empty", b"", rejected("empty_payload"))
    yield case("letters that are no ASCII", as_json(frame_data="ä" * 40), _BAD_BASE64)
    yield case("image bytes in a text", as_json(frame_data=PLAIN.decode("latin-1")), _BAD_BASE64)


def _sound() -> dict[str, bytes]:
    batched = [BASE64[place : place + 4] for place in range(0, len(BASE64), 4)]
    return {
        "base64": BASE64,
        "base64 in lines": base64.encodebytes(PLAIN),
        "base64 in lines of four": b"\r\n".join(batched),
        "base64 in blanks": b" \t\n" + BASE64 + b"\n \n",
        "base64 without its end": BASE64.rstrip(b"="),
        "data URI": _URI + BASE64,
        "data URI in capitals": _URI.upper() + BASE64,
        "data URI of another type": b"data:image/png;base64," + BASE64,
        "data URI with a parameter": b"data:image/jpeg;charset=utf-8;base64," + BASE64,
        "data URI of bytes": b"data:application/octet-stream;base64," + BASE64,
        "data URI of no type": b"data:;base64," + BASE64,
        "data URI in lines": _URI + b"\n" + base64.encodebytes(PLAIN),
    }


def _bad_base64() -> dict[str, bytes]:
    padded = base64.b64encode(PLAIN.ljust(len(PLAIN) // 3 * 3 + 4, b"\0"))
    return {
        "one wrong character": BASE64[:40] + b"*" + BASE64[40:],
        "ends in the middle of a byte": BASE64.rstrip(b"=")[:-1] + b"!",
        "URL alphabet": b"/9j/-_" + BASE64[6:],
        "padding in the middle": BASE64[:40] + b"==" + BASE64[40:],
        "too much padding": padded + b"=" * 4,
        "zero byte in it": BASE64[:40] + b"\0" + BASE64[40:],
        "begins like a PNG and is padding": b"iVBORw0KGgo" + b"=" * 100,
        "data URI of nonsense": _URI + b"!" * 40,
        "data URI with escapes": _URI + BASE64.replace(b"/", b"%2F"),
        "words at the end": padded + b"\nmotion detected",
    }


def _not_images() -> dict[str, bytes]:
    return {
        "a blank": b" ",
        "zeros": b"\0" * 1000,
        "words": b"motion detected",
        "ON": b"ON",
        "hexadecimal": PLAIN.hex().encode(),
        "base64 of base64": base64.b64encode(BASE64),
        "base64 of JSON": base64.b64encode(as_json()),
        "base64 of a GIF": base64.b64encode(b"GIF89a" + b"\0" * 100),
        "base64 of nothing": b"====",
        "base32": base64.b32encode(PLAIN),
        "base85": base64.b85encode(PLAIN),
        "gzip": gzip.compress(PLAIN),
        "gzip of JSON": gzip.compress(as_json()),
        "zlib": zlib.compress(PLAIN),
        "a thousandfold when unpacked": gzip.compress(b"\0" * 2_000_000),
        "HTTP": b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n\r\n" + PLAIN,
        "multipart": b"--frame\r\nContent-Type: image/jpeg\r\n\r\n" + PLAIN + b"\r\n--frame--",
        "one byte before it": b"\0" + PLAIN,
        "byte order mark before base64": b"\xef\xbb\xbf" + BASE64,
        "data URI without data": _URI,
        "data URI without base64": b"data:image/jpeg," + BASE64,
        "data URI of a text": b"data:text/html;base64," + BASE64,
        "data URI of five parameters": b"data:image/jpeg" + b";a=b" * 5 + b";base64," + BASE64,
        "data URI of no type, without base64": b"data:," + BASE64,
        "data URI of bytes that are a GIF": b"data:application/octet-stream;base64,R0lGODlhAAAA",
        "data URI of SVG": b"data:image/svg+xml;base64," + base64.b64encode(b"<svg/>"),
        "a URL": b"http://127.0.0.1/1.jpg",
        "a path": b"/etc/passwd",
        "a file URL": b"file:///etc/passwd",
    }
