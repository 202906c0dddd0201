"""A frame as JSON, taken out of its wrapping: base64 or a data URI becomes the image's bytes.

Whoever brings frames as a `MotionFrame` (a message, a request) reads them here. Whether the bytes
are a sound image is for intake to check.
"""

import binascii
import re
from dataclasses import dataclass
from typing import Any

from broker.codec import PayloadError
from schemas.data_uri import BYTES_HEAD
from schemas.frame import FrameOptions, MotionFrame

MAX_OTHER_BYTES = 64 * 1024  # of a JSON frame besides its image
WHITESPACE = b" \t\r\n"  # `base64` breaks its lines

_BASE64 = re.compile(rb"[A-Za-z0-9+/]{4}")


@dataclass(frozen=True, slots=True)
class IncomingFrame:
    """A frame without its wrapping; exactly one of `image` and `frame_url` is set."""

    options: FrameOptions
    image: bytes | None
    frame_url: str | None


def max_json_bytes(max_image_bytes: int) -> int:
    """Most bytes of a JSON frame whose image has so many."""
    return _base64_size(max_image_bytes) + MAX_OTHER_BYTES


def unwrap_frame(frame: MotionFrame, max_image_bytes: int) -> IncomingFrame:
    """Take the image of a JSON frame out of its text.

    Raises:
        PayloadError: `bad_base64`, `not_an_image` or `payload_too_large`.
    """
    image = _decode_field(frame.frame_data, max_image_bytes)
    return IncomingFrame(_options_of(frame), image, frame.frame_url)


def unwrap_image(data: bytes, max_image_bytes: int) -> bytes:
    """Image bytes from image bytes, a data URI or bare base64.

    Raises:
        PayloadError: `bad_base64`, `not_an_image` or `payload_too_large`.
    """
    if is_image(data):
        return _bounded(data, max_image_bytes)
    text = data.lstrip(WHITESPACE)
    prefix = BYTES_HEAD.match(text)
    if prefix is None and not _BASE64.match(text):
        raise PayloadError(
            "not_an_image", "must be a JPEG, PNG or WebP, base64 or a data URI of one, or JSON"
        )
    if len(text) > 2 * _base64_size(max_image_bytes):  # before it is copied
        raise _too_large(len(text) * 3 // 4, max_image_bytes)
    image = _decode(text[prefix.end() :] if prefix else text, is_declared=prefix is not None)
    if not is_image(image):
        raise PayloadError("not_an_image", "the base64 text is not of a JPEG, PNG or WebP")
    return _bounded(image, max_image_bytes)


def is_image(data: bytes) -> bool:
    """Whether the bytes begin like a JPEG, a PNG or a WebP."""
    if data[:4] == b"RIFF":
        return data[8:12] == b"WEBP"
    return data.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"))


def _options_of(frame: MotionFrame) -> FrameOptions:
    """The same without the base64 text, which would live as long as the job."""
    values: dict[str, Any] = {name: getattr(frame, name) for name in FrameOptions.model_fields}
    said = frame.model_fields_set & FrameOptions.model_fields.keys()
    return FrameOptions.model_construct(_fields_set=set(said), **values)


def _decode_field(frame_data: str | None, max_image_bytes: int) -> bytes | None:
    if frame_data is None:
        return None
    try:
        return unwrap_image(frame_data.encode("ascii"), max_image_bytes)
    except UnicodeEncodeError as error:
        raise PayloadError("bad_base64", "frame_data: is not base64") from error
    except PayloadError as error:
        raise PayloadError(error.code, f"frame_data: {error}") from error


def _decode(text: bytes, *, is_declared: bool) -> bytes:
    text = text.translate(None, WHITESPACE)
    text += b"=" * (-len(text) % 4)  # some encoders leave it out
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error as error:
        # Words on the wrong topic look like base64 for a while; a sender is helped by the truth.
        if is_declared or text.startswith((b"/9j/", b"iVBORw0KGgo", b"UklGR")):
            raise PayloadError("bad_base64", f"is not base64: {error}") from error
        raise PayloadError("not_an_image", "is neither an image nor base64 of one") from error


def _bounded(image: bytes, max_image_bytes: int) -> bytes:
    if len(image) > max_image_bytes:
        raise _too_large(len(image), max_image_bytes)
    return image


def _too_large(num_bytes: int, max_image_bytes: int) -> PayloadError:
    return PayloadError(
        "payload_too_large",
        f"the image has {num_bytes} bytes; at most {max_image_bytes} are accepted",
    )


def _base64_size(num_bytes: int) -> int:
    return (num_bytes + 2) // 3 * 4
