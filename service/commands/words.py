"""The words of a request on the command line, and the request that they say.

`FIELD=VALUE`, the bare value of the one field that is required, a JSON object, or `@FILE` with one.
What a value means follows from the schema: a text field takes it as it is, any other as JSON, and
`null` is null where there can be none.
"""

import base64
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from schemas.requests.fields import FieldSpec, fields_of
from schemas.requests.operation import Operation

_NAMED = re.compile(r"[a-z_]+=")


def read_words(operation: Operation[Any, Any], words: Sequence[str]) -> dict[str, Any]:
    """The content of a request.

    Raises:
        typer.BadParameter: They cannot be understood, or a file cannot be read.
    """
    if len(words) == 1 and words[0].lstrip().startswith("{"):
        return _read_object(words[0])
    if len(words) == 1 and words[0].startswith("@"):
        return _read_object(_read_file(words[0][1:]))
    fields = {field.name: field for field in fields_of(operation.request)}
    bare = operation.bare_field
    if len(words) == 1 and bare is not None and not _NAMED.match(words[0]):
        return {bare: _value(fields[bare], words[0])}
    content: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise typer.BadParameter(f"{word!r} is no FIELD=VALUE")
        if name not in fields:
            known = ", ".join(fields) or "none"
            raise typer.BadParameter(f"{operation.name} has no field {name!r}; it has: {known}")
        if name in content:
            raise typer.BadParameter(f"{name} is given twice")
        content[name] = _value(fields[name], text)
    return content


def _value(field: FieldSpec, text: str) -> Any:
    if text == "null" and field.takes_null:
        return None
    if text.startswith("@"):
        text = _as_text(_read_file(text[1:]))
    if field.takes_text:
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text  # `ON`; and what cannot be is best said by the service


def _read_object(text: str | bytes) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(f"the request is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise typer.BadParameter("the request must be a JSON object")
    return content


def _read_file(name: str) -> bytes:
    try:
        if Path(name).exists() and not Path(name).is_file():
            raise typer.BadParameter(f"{name} is no file")  # a device may never end
        return Path(name).read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{name}: {error.strerror}") from error


def _as_text(content: bytes) -> str:
    """Text as it is; anything else, such as a picture, as base64."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return base64.b64encode(content).decode()


def spelled(content: dict[str, Any], operation: Operation[Any, Any]) -> list[str]:
    """The words that say `content`; what `read_words` reads."""
    takes_text = {field.name: field.takes_text for field in fields_of(operation.request)}
    return [
        f"{name}={value if isinstance(value, str) and takes_text[name] else json.dumps(value)}"
        for name, value in content.items()
    ]
