"""A picture with what is said of it, out of whatever form a request has.

Three forms, told apart by Content-Type: a MotionFrame as JSON, the image itself, a multipart form
with a file. What is said beside a picture stands in the query, in parts of the form or in headers:
`X-Camera-Id: front_door` is `camera_id`. What stands nearest to the picture counts. The names and
the sentences are those of MQTT.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

from fastapi import Request

from broker.codec import PayloadError, read_texts
from gateway.bodies import check_is_json, read_body, read_object, take_apart
from gateway.forms import File, Form, read_form
from gateway.options import GatewayOptions
from gateway.problems import Problem
from schemas.frame import FrameOptions, MotionFrame

MAX_OTHER_BYTES = 64 * 1024  # of a frame besides its image
_IMAGES = ("image/jpeg", "image/jpg", "image/png", "image/webp")
_FILES = ("file", "media", "image", "frame_data")  # names of a form's picture
_OPTIONS = frozenset(FrameOptions.model_fields)
_TEXTS = frozenset({*MotionFrame.model_fields, "image_url"})


@dataclass(frozen=True, slots=True)
class Said:
    """What a request says: fields of a `MotionFrame`, and further ones of its operation."""

    fields: dict[str, Any]
    image: bytes | None  #: where it came as it is; else `frame_data` or `frame_url` is a field
    file: File | None = None  #: where it came in a form


def max_frame_bytes(options: GatewayOptions) -> int:
    """Most bytes of a frame in any form: base64 of its image, and a little more."""
    return (options.max_image_bytes + 2) // 3 * 4 + MAX_OTHER_BYTES


async def read_frame(
    request: Request,
    options: GatewayOptions,
    *,
    further: frozenset[str] = frozenset(),
) -> Said:
    """Read a frame in any of its forms.

    Args:
        request: Not read yet.
        options: The largest image.
        further: Names that may stand in a query or a form besides those of a frame.

    Raises:
        Problem: It is none of the forms, or too large, or a name does not belong.
    """
    max_bytes = max_frame_bytes(options)
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    query = dict(parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True))
    beside = {**_from_headers(request), **_texts(query, further)}
    body = await read_body(request, max_bytes)
    if media_type in _IMAGES:
        return Said(beside, body)
    if media_type == "multipart/form-data":
        content_type = request.headers["content-type"]
        form = await take_apart(body, partial(read_form, body, content_type))
        file = _only_file(form)
        fields = {**beside, **_texts(form.texts, further)}
        return Said(fields, file.content if file else None, file)
    check_is_json(request, body)
    content = await take_apart(body, partial(read_object, body, max_bytes))
    return Said({**beside, **content}, None)


def with_job_id(fields: Mapping[str, Any], request: Request) -> dict[str, Any]:
    """The fields with the id that an `Idempotency-Key` gives.

    Raises:
        Problem: There is another `job_id`.
    """
    key = request.headers.get("idempotency-key", "").strip().strip('"')
    if not key:
        return dict(fields)
    if fields.get("job_id", key) != key:
        raise Problem("bad_field", "job_id: is not the Idempotency-Key", param="job_id")
    return {**fields, "job_id": key}


def _only_file(form: Form) -> File | None:
    """The picture of a form.

    Raises:
        Problem: There are several, or it has another name.
    """
    name, file = form.only_file() or ("file", None)
    if name not in _FILES:
        raise Problem(
            "bad_field", f"{name[:64]}: unknown field; the picture is `file`", param="file"
        )
    return file


def _texts(texts: Mapping[str, str], further: frozenset[str]) -> dict[str, Any]:
    """Values of a query or a form.

    Raises:
        Problem: A name does not belong, or a value cannot be read.
    """
    unknown = [name for name in texts if name not in _TEXTS and name not in further]
    if unknown:
        message = "; ".join(f"{name[:64]}: unknown field" for name in unknown[:3])
        raise Problem("bad_field", message, param=unknown[0][:64])
    try:
        return read_texts(texts)
    except PayloadError as error:
        raise Problem(error.code, str(error), param=str(error).partition(":")[0]) from error


def _from_headers(request: Request) -> dict[str, Any]:
    """Those of `X-…` that name an option; whatever else proxies add is theirs."""
    texts = {}
    for name, value in request.headers.items():
        option = name.removeprefix("x-").replace("-", "_")
        if name.startswith("x-") and option in _OPTIONS:
            texts[option] = value.encode("latin-1").decode("utf-8", "replace")
    return _texts(texts, frozenset())
