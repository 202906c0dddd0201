"""A message that carries an image, in any of the forms a camera may send it.

The forms are told apart by content, never by topic: image bytes by their magic, a data URI, bare
base64 of an image, or a JSON object with the image in it. Only the wrapping is taken off here;
whether the bytes are a sound image is for the caller to check.
"""

import binascii
import re
from dataclasses import dataclass
from typing import Any

from broker.codec import PayloadError, read_json, read_properties, readable_job_id, validate
from broker.message import Message
from schemas.frame import MAX_AGE_S, FrameOptions, MotionFrame

MAX_IMAGE_BYTES = 4 << 20
MAX_OTHER_BYTES = 64 * 1024  # of a JSON frame besides its image

_DATA_URI = re.compile(rb"data:image/[a-z0-9.+-]{1,32}(;[a-z0-9=.+-]{1,64}){0,4};base64,", re.I)
_WHITESPACE = b" \t\r\n"  # `base64` breaks its lines
_BASE64 = re.compile(rb"[A-Za-z0-9+/]{4}")


@dataclass(frozen=True, slots=True)
class IncomingFrame:
    """A frame without its wrapping; exactly one of `image` and `frame_url` is set."""

    options: FrameOptions
    image: bytes | None
    frame_url: str | None


def read_frame(
    message: Message, camera_id: str, *, max_image_bytes: int = MAX_IMAGE_BYTES
) -> IncomingFrame:
    """Take the frame out of a message.

    Args:
        camera_id: From the topic; a different one in the payload is refused.
        max_image_bytes: Of the image itself, whatever its form.

    Raises:
        PayloadError: `empty_payload`, `payload_too_large`, `bad_json`, `bad_field`, `bad_base64`,
            `not_an_image` or `camera_mismatch`.
    """
    try:
        frame = _read_form(message, max_image_bytes)
        _check_camera(frame.options, camera_id)
    except PayloadError as error:
        if error.job_id is None:  # whatever the form: the properties are read before the payload
            error.job_id = readable_job_id(dict(message.properties.user).get("job_id"))
        raise
    return _with_expiry(frame, message.properties.message_expiry)


def is_image(data: bytes) -> bool:
    """Whether the bytes begin like a JPEG, a PNG or a WebP."""
    if data[:4] == b"RIFF":
        return data[8:12] == b"WEBP"
    return data.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"))


def _read_form(message: Message, max_image_bytes: int) -> IncomingFrame:
    payload = message.payload
    if not message.properties.is_readable:
        raise PayloadError("bad_field", "the MQTT 5 properties of the message cannot be read")
    if not payload:
        raise PayloadError("empty_payload", "the message is empty")
    if payload[:16].lstrip(b"\xef\xbb\xbf" + _WHITESPACE).startswith(b"{"):
        return _read_json_frame(payload, max_image_bytes)
    return _read_plain_frame(message, max_image_bytes)


def _read_json_frame(payload: bytes, max_image_bytes: int) -> IncomingFrame:
    content = read_json(payload, max_bytes=_base64_size(max_image_bytes) + MAX_OTHER_BYTES)
    job_id = readable_job_id(content.get("job_id"))
    try:
        frame = validate(MotionFrame, content)
        image = _decode_field(frame.frame_data, max_image_bytes)
    except PayloadError as error:
        error.job_id = job_id
        raise
    return IncomingFrame(_options_of(frame), image, frame.frame_url)


def _read_plain_frame(message: Message, max_image_bytes: int) -> IncomingFrame:
    options = read_properties(message.properties.user)
    try:
        return IncomingFrame(options, _unwrap(message.payload, max_image_bytes), None)
    except PayloadError as error:
        error.job_id = options.job_id
        raise


def _options_of(frame: MotionFrame) -> FrameOptions:
    """The same without the base64 text, which would live as long as the job."""
    values: dict[str, Any] = {name: getattr(frame, name) for name in FrameOptions.model_fields}
    said = frame.model_fields_set & FrameOptions.model_fields.keys()
    return FrameOptions.model_construct(_fields_set=set(said), **values)


def _decode_field(frame_data: str | None, max_image_bytes: int) -> bytes | None:
    if frame_data is None:
        return None
    try:
        return _unwrap(frame_data.encode("ascii"), max_image_bytes)
    except UnicodeEncodeError as error:
        raise PayloadError("bad_base64", "frame_data: is not base64") from error
    except PayloadError as error:
        raise PayloadError(error.code, f"frame_data: {error}") from error


def _unwrap(data: bytes, max_image_bytes: int) -> bytes:
    """Image bytes from image bytes, a data URI or bare base64."""
    if is_image(data):
        return _bounded(data, max_image_bytes)
    text = data.lstrip(_WHITESPACE)
    prefix = _DATA_URI.match(text)
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


def _decode(text: bytes, *, is_declared: bool) -> bytes:
    text = text.translate(None, _WHITESPACE)
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


def _check_camera(options: FrameOptions, camera_id: str) -> None:
    if options.camera_id is not None and options.camera_id != camera_id:
        raise PayloadError(
            "camera_mismatch",
            f"camera_id: is {options.camera_id}, but the topic is that of {camera_id}",
            options.job_id,
        )


def _with_expiry(frame: IncomingFrame, message_expiry: int | None) -> IncomingFrame:
    if frame.options.max_age is not None or message_expiry is None:
        return frame
    # A broker may hand out a message in the second it expires; max_age must be above zero. A
    # message may expire later than the greatest max_age.
    max_age = min(max(float(message_expiry), 1.0), MAX_AGE_S)
    options = frame.options.model_copy(update={"max_age": max_age})
    return IncomingFrame(options, frame.image, frame.frame_url)
