"""What a caller of Moondream's API sends, in any of the forms its servers take.

JSON, a form, a multipart form with a file, or the picture alone; query parameters count before the
body. Fields that are not known are left alone, those that are known have to be right.
"""

import json
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

from fastapi import Request

from gateway.bodies import read_body, take_apart
from gateway.forms import MOST_PARTS, read_form
from gateway.objects import read_object
from gateway.options import GatewayOptions
from gateway.problems import Problem
from schemas.frame import MAX_TEXT_CHARACTERS

_FIELDS = "application/x-www-form-urlencoded"
_FORMS = ("multipart/form-data", _FIELDS)
_OTHER_BYTES = 64 * 1024  # of a form beside its picture
#: Of a frame, beside the picture and what is asked.
_ABOUT_THE_FRAME = ("camera_id", "job_id", "location", "metadata", "priority", "timestamp")
_YES, _NO = frozenset({"true", "1", "yes", "on"}), frozenset({"false", "0", "no", "off", ""})


@dataclass(slots=True)
class Asked:
    """A request."""

    fields: dict[str, Any]
    file: bytes | None = field(default=None, repr=False)  #: the picture, where it came as one

    @property
    def has_picture(self) -> bool:
        """Whether one was sent that is not taken yet."""
        return self.file is not None or self.fields.get("image_url") not in (None, "")

    def take_picture(self) -> str | bytes:
        """Bytes, base64, a data URI or an address; not kept here any longer.

        Raises:
            Problem: There is none, or `image_url` is no text.
        """
        if not self.has_picture:
            raise Problem("bad_field", "image_url: is required", param="image_url")
        file, self.file = self.file, None
        said = self.fields.pop("image_url", None)
        if file is not None:
            return file
        if isinstance(said, dict):  # as OpenAI's interface has it
            said = said.get("url")
        if not isinstance(said, str):
            raise Problem("bad_field", "image_url: must be a text", param="image_url")
        return said

    @property
    def about_the_frame(self) -> dict[str, Any]:
        """What is said of it that other interfaces take too."""
        return {name: self.fields[name] for name in _ABOUT_THE_FRAME if name in self.fields}

    def text(self, *names: str) -> str:
        """The first of these fields that is there.

        Raises:
            Problem: There is none, or it is no text, or too long a one.
        """
        for name in names:
            value = self.fields.get(name)
            if value is None:
                continue
            if not isinstance(value, str) or not value.strip():
                raise Problem("bad_field", f"{name}: must be a text", param=name)
            if len(value) > MAX_TEXT_CHARACTERS:
                message = f"{name}: has {len(value)} characters; there is room for "
                raise Problem("bad_field", f"{message}{MAX_TEXT_CHARACTERS}", param=name)
            return value
        raise Problem("bad_field", f"{names[0]}: is required", param=names[0])

    def flag(self, name: str) -> bool:
        """A yes or no; forms and query parameters have it as a word.

        Raises:
            Problem: It is neither.
        """
        value = self.fields.get(name)
        if value is None or isinstance(value, bool):
            return bool(value)
        word = str(value).lower()
        if word not in _YES | _NO:
            raise Problem("bad_field", f"{name}: must be true or false", param=name)
        return word in _YES

    def seconds(self, name: str, most: float) -> float:
        """A time, at most `most`; that where none is said.

        Raises:
            Problem: It is no positive number.
        """
        value = self.fields.get(name)
        if value is None:
            return most
        try:
            seconds = float(value)
        except (TypeError, ValueError):
            seconds = 0.0
        if not seconds > 0:
            raise Problem("bad_field", f"{name}: must be a number of seconds above 0", param=name)
        return min(seconds, most)

    def setting(self, name: str) -> Any:
        """One of `settings`; None where it is not said."""
        settings = self.fields.get("settings")
        if isinstance(settings, str):
            try:
                settings = json.loads(settings)
            except (ValueError, RecursionError):
                return None
        return settings.get(name) if isinstance(settings, dict) else None


async def read_asked(request: Request, options: GatewayOptions) -> Asked:
    """Read a request.

    Raises:
        Problem: It is too large, or not what its content type says.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    said = dict(request.query_params)
    if kind in _FORMS:
        fields, file = await _read_form(request, kind, options.max_image_bytes)
        return Asked({**fields, **said}, file)
    if kind.startswith("image/"):
        return Asked(said, await read_body(request, options.max_image_bytes))
    return Asked({**await read_object(request, options), **said})


async def _read_form(
    request: Request, kind: str, max_image_bytes: int
) -> tuple[dict[str, str], bytes | None]:
    """Texts and the picture of a form; in one, a picture can be a text too.

    Raises:
        Problem: It is cut, is none, or has more than one file.
    """
    max_bytes = 2 * max_image_bytes + _OTHER_BYTES
    body = await read_body(request, max_bytes)
    if kind == _FIELDS:
        return await take_apart(body, partial(_fields_of, body)), None
    content_type = request.headers["content-type"]
    form = await take_apart(body, partial(read_form, body, content_type, max_bytes))
    name, file = form.only_file() or ("", None)
    if file is not None and len(file.content) > max_image_bytes:
        message = f"{name[:64]}: has {len(file.content)} bytes; "
        raise Problem(
            "payload_too_large", f"{message}at most {max_image_bytes} are accepted", param=name[:64]
        )
    return form.texts, file.content if file else None


def _fields_of(body: bytes) -> dict[str, str]:
    try:
        text = body.decode("ascii", "replace")
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_PARTS))
    except ValueError as error:
        raise Problem("bad_request", f"the form has more than {MOST_PARTS} fields") from error
