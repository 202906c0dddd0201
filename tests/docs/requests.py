"""The parts of `docs/requests.md` that are written from the operations."""

import shlex
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from schemas.requests.codes import CODES
from schemas.requests.fields import FieldSpec, fields_of
from schemas.requests.operation import ANSWER_WITHIN_S, MAX_REQUEST_BYTES, Operation
from schemas.requests.table import TABLE
from service.commands.words import spelled
from tests.docs.markdown import table


def operations() -> str:
    """Every operation, by group."""
    lines: list[str] = []
    for group, members in groupby(sorted(TABLE, key=_group), _group):
        lines += [f"## `{group}`", ""]
        for operation in members:
            lines += _section(operation)
    return "\n".join(lines).strip()


def codes() -> str:
    """Every error code of an answer."""
    return "\n".join(table(("Code", "Meaning"), ((f"`{c}`", text) for c, text in CODES.items())))


def command_of(operation: Operation[Any, Any]) -> str:
    """The example of an operation as a command."""
    words = spelled(operation.example, operation)
    return shlex.join(["moondream2mqtt", "request", operation.name, *words])


def _group(operation: Operation[Any, Any]) -> str:
    return operation.group if "/" in operation.name else "service"


def _section(operation: Operation[Any, Any]) -> Iterator[str]:
    yield from (f"### `{operation.name}`", "", operation.description, "")
    if operation.answer_within_s != ANSWER_WITHIN_S:
        yield from (f"It is answered within {operation.answer_within_s:.0f} seconds.", "")
    if operation.max_bytes != MAX_REQUEST_BYTES:
        yield from (f"A request has at most {operation.max_bytes >> 20} MiB.", "")
    asked = table(
        ("Field", "Type", "Default", "Meaning"),
        (
            (f"`{each.name}`", each.type, _default(each), each.meaning)
            for each in fields_of(operation.request)
        ),
    )
    yield from ([*asked, ""] if asked else [])
    yield from ("```bash", command_of(operation), "```", "")
    answered = fields_of(operation.answer, "serialization")
    rows = ((f"`{each.name}`", each.type, each.meaning) for each in answered)
    yield from (*table(("Answer", "Type", "Meaning"), rows), "")


def _default(field: FieldSpec) -> str:
    if field.is_required:
        return "required"
    return "" if field.default is None else f"`{field.default}`"
