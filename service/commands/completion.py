"""What a shell offers while a command is typed: operations, fields, values, ids, cameras.

A shell that waits for a broker would be no help, so what has to be asked for is asked for a second,
and nothing is offered where there is no answer.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import typer

from schemas.requests.cameras import CAMERA_LIST
from schemas.requests.fields import FieldSpec, fields_of
from schemas.requests.jobs import JOB_LIST
from schemas.requests.operation import Operation
from schemas.requests.table import TABLE
from service.commands.ask import ask
from service.commands.options import CommonOptions
from service.errors import ServiceError

_PATIENCE_S = 1.0
_MOST_ITEMS = 50

#: Fields whose values a running service knows, and what lists them.
_LISTS: dict[str, Operation[Any, Any]] = {"job_id": JOB_LIST, "camera_id": CAMERA_LIST}


def complete_operation(incomplete: str) -> list[tuple[str, str]]:
    """Operations with what they do."""
    return [(each.name, each.description) for each in TABLE if each.name.startswith(incomplete)]


def complete_camera(context: typer.Context, incomplete: str) -> list[str]:
    """Cameras that a running service knows."""
    known = _listed(CAMERA_LIST, "camera_id", CommonOptions.of(context.params))
    return [each for each in known if each.startswith(incomplete)]


def complete_word(context: typer.Context, incomplete: str) -> list[str]:
    """Fields of the operation that was typed; after a field, its values."""
    operation = next((each for each in TABLE if each.name == context.params["operation"]), None)
    if operation is None:
        return []
    fields = {field.name: field for field in fields_of(operation.request)}
    words: Sequence[str] = context.params.get("words") or ()
    common = CommonOptions.of(context.params)
    if words and (words[-1] == "=" or words[-1] in fields):  # bash splits there, or drops it
        typed = next((word for word in reversed(words) if word != "="), "")
        return _values(fields.get(typed), incomplete, common)
    name, equals, start = incomplete.partition("=")
    if equals:
        return [f"{name}={value}" for value in _values(fields.get(name), start, common)]
    given = {word.partition("=")[0] for word in words}
    found = [f"{field}=" for field in fields if field.startswith(incomplete) and field not in given]
    return found if words else [*_bare(operation, fields, incomplete, common), *found]


def _bare(
    operation: Operation[Any, Any],
    fields: dict[str, FieldSpec],
    start: str,
    common: CommonOptions,
) -> list[str]:
    bare = operation.bare_field
    return _values(fields[bare], start, common) if bare is not None else []


def _values(field: FieldSpec | None, start: str, common: CommonOptions) -> list[str]:
    if field is None:
        return []
    lists = _LISTS.get(field.name)
    values = field.values if lists is None else _listed(lists, field.name, common)
    return [value for value in values if value.startswith(start)]


def _listed(operation: Operation[Any, Any], name: str, common: CommonOptions) -> Sequence[str]:
    """A field of what a running service lists; nothing where there is none."""

    async def ask_for_it() -> dict[str, Any]:
        mqtt = common.settings(is_silent=True).mqtt
        async with asyncio.timeout(_PATIENCE_S):
            return await ask(mqtt, operation, {"limit": _MOST_ITEMS}, timeout_s=_PATIENCE_S)

    try:
        return [str(item[name]) for item in asyncio.run(ask_for_it())["items"]]
    except (ServiceError, TimeoutError, LookupError, TypeError):
        return []
