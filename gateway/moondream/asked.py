"""What a caller of Moondream's API sends, in any of the forms its servers take.

JSON, a form, a multipart form with a file, or the picture alone; query parameters count before the
body. Fields that are not known are left alone, those that are known have to be right.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from gateway.bodies import read_body
from gateway.objects import read_object
from gateway.options import GatewayOptions
from gateway.problems import Problem
from schemas.frame import MAX_TEXT_CHARACTERS

_FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
_MOST_FIELDS = 32
_MOST_FILES = 1
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
        fields, file = await _read_form(request, options.max_image_bytes)
        return Asked({**fields, **said}, file)
    if kind.startswith("image/"):
        return Asked(said, await read_body(request, options.max_image_bytes))
    return Asked({**await read_object(request, options), **said})


async def _read_form(request: Request, max_bytes: int) -> tuple[dict[str, str], bytes | None]:
    try:
        form = await request.form(
            max_files=_MOST_FILES, max_fields=_MOST_FIELDS, max_part_size=2 * max_bytes
        )
    except HTTPException as error:
        raise Problem("bad_request", f"the form cannot be read: {error.detail}") from error
    try:
        texts = {name: value for name, value in form.items() if isinstance(value, str)}
        return texts, await _file_of(form, max_bytes)
    finally:
        await form.close()


async def _file_of(form: FormData, max_bytes: int) -> bytes | None:
    for name, value in form.items():
        if isinstance(value, UploadFile):
            if value.size is not None and value.size > max_bytes:
                message = f"{name}: has {value.size} bytes; at most {max_bytes} are accepted"
                raise Problem("payload_too_large", message, param=name)
            return await value.read()
    return None
