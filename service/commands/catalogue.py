"""What can be asked and ordered, as `request --list` prints it."""

from collections.abc import Iterator, Sequence
from typing import Any

from schemas.requests.fields import FieldSpec, fields_of
from schemas.requests.operation import Operation
from schemas.requests.table import TABLE


def operations_named(name: str | None) -> Sequence[Operation[Any, Any]]:
    """The operation of this name, or those of this group; without a name all."""
    return [each for each in TABLE if name in {None, each.name, each.group}]


def describe(operations: Sequence[Operation[Any, Any]]) -> str:
    """Each operation with the fields of its request."""
    return "\n\n".join("\n".join(_lines(each)) for each in operations)


def _lines(operation: Operation[Any, Any]) -> Iterator[str]:
    yield operation.name
    yield f"  {operation.description}"
    fields = list(fields_of(operation.request))
    width = max((len(field.name) for field in fields), default=0)
    yield from (f"    {field.name:<{width}}  {_said_of(field)}" for field in fields)


def _said_of(field: FieldSpec) -> str:
    parts = [field.type.replace("`", "")]
    if field.is_required:
        parts.append("required")
    elif field.default is not None:
        parts.append(f"default {field.default}")
    return "; ".join([*parts, field.meaning] if field.meaning else parts)
