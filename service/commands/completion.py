"""What a shell offers while a request is typed: operations, fields, values, and ids of jobs.

A shell that waits for a broker would be no help, so what has to be asked for is asked for a second,
and nothing is offered where there is no answer.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import typer

from schemas.requests.fields import FieldSpec, fields_of
from schemas.requests.jobs import JOB_LIST
from schemas.requests.operation import Operation
from schemas.requests.table import TABLE
from service.commands.ask import ask
from service.commands.options import CommonOptions
from service.errors import ServiceError

_PATIENCE_S = 1.0
_MOST_JOBS = 50


def complete_operation(incomplete: str) -> list[tuple[str, str]]:
    """Operations with what they do."""
    return [(each.name, each.description) for each in TABLE if each.name.startswith(incomplete)]


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
    values = _job_ids(common) if field.name == "job_id" else field.values
    return [value for value in values if value.startswith(start)]


def _job_ids(common: CommonOptions) -> Sequence[str]:
    """The youngest jobs of a running service; none where there is none."""

    async def jobs() -> dict[str, Any]:
        mqtt = common.settings(is_silent=True).mqtt
        async with asyncio.timeout(_PATIENCE_S):
            return await ask(mqtt, JOB_LIST, {"limit": _MOST_JOBS}, timeout_s=_PATIENCE_S)

    try:
        return [str(job["job_id"]) for job in asyncio.run(jobs())["items"]]
    except (ServiceError, TimeoutError, LookupError, TypeError):
        return []
