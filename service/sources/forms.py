"""A message that carries an image, in any of the forms a camera may send it.

The forms are told apart by content, never by topic: image bytes by their magic, a data URI, bare
base64 of an image, or a JSON object with the image in it. Only the wrapping is taken off here;
whether the bytes are a sound image is for the caller to check.
"""

from dataclasses import dataclass

from broker.codec import PayloadError, read_json, read_properties, readable_job_id, validate
from broker.message import Message
from schemas.frame import MAX_AGE_S, FrameOptions, MotionFrame
from service.intake.wrapping import (
    WHITESPACE,
    IncomingFrame,
    max_json_bytes,
    unwrap_frame,
    unwrap_image,
)
from service.sources.foreign import read_foreign

MAX_IMAGE_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Foreign:
    """The topic is not ours: an object that is no frame of ours may be one all the same."""

    image_path: str | None = None  #: where the image is; None: under any of the keys in use


def read_frame(
    message: Message,
    camera_id: str,
    *,
    max_image_bytes: int = MAX_IMAGE_BYTES,
    foreign: Foreign | None = None,
) -> IncomingFrame:
    """Take the frame out of a message.

    Args:
        camera_id: From the topic; a different one in the payload is refused.
        max_image_bytes: Of the image itself, whatever its form.
        foreign: None on our own topic.

    Raises:
        PayloadError: `empty_payload`, `payload_too_large`, `bad_json`, `bad_field`, `bad_base64`,
            `not_an_image` or `camera_mismatch`.
    """
    try:
        frame = _read_form(message, max_image_bytes, foreign)
        _check_camera(frame.options, camera_id)
    except PayloadError as error:
        if error.job_id is None:  # whatever the form: the properties are read before the payload
            error.job_id = readable_job_id(dict(message.properties.user).get("job_id"))
        raise
    return _with_expiry(frame, message.properties.message_expiry)


def _read_form(message: Message, max_image_bytes: int, foreign: Foreign | None) -> IncomingFrame:
    payload = message.payload
    if not message.properties.is_readable:
        raise PayloadError("bad_field", "the MQTT 5 properties of the message cannot be read")
    if not payload:
        raise PayloadError("empty_payload", "the message is empty")
    if payload[:16].lstrip(b"\xef\xbb\xbf" + WHITESPACE).startswith(b"{"):
        return _read_json_frame(payload, max_image_bytes, foreign)
    return _read_plain_frame(message, max_image_bytes)


def _read_json_frame(
    payload: bytes, max_image_bytes: int, foreign: Foreign | None
) -> IncomingFrame:
    content = read_json(payload, max_bytes=max_json_bytes(max_image_bytes))
    try:
        frame = validate(MotionFrame, content)
    except PayloadError as error:
        if foreign is not None:
            return read_foreign(content, foreign.image_path, max_image_bytes)
        error.job_id = readable_job_id(content.get("job_id"))
        raise
    try:
        return unwrap_frame(frame, max_image_bytes)
    except PayloadError as error:
        error.job_id = frame.job_id
        raise


def _read_plain_frame(message: Message, max_image_bytes: int) -> IncomingFrame:
    options = read_properties(message.properties.user)
    try:
        return IncomingFrame(options, unwrap_image(message.payload, max_image_bytes), None)
    except PayloadError as error:
        error.job_id = options.job_id
        raise


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
