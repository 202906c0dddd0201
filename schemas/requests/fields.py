"""The fields of a request or an answer in words, for the command line and the documentation."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

_NAMES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "object": "object",
    "null": "null",
}

_MOST_NAMED = 5  # fields of an object within an object; a larger one is called by its name


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One field as somebody who writes or reads JSON sees it."""

    name: str
    type: str  #: in words, with its range
    default: str | None  #: as JSON; None where it must be given, or nothing is the default
    is_required: bool
    meaning: str
    takes_text: bool  #: whether a text as it is can be its value
    takes_null: bool
    values: tuple[str, ...]  #: the only texts it can be; empty for any


def fields_of(
    model: type[BaseModel], mode: Literal["validation", "serialization"] = "validation"
) -> Iterator[FieldSpec]:
    """Every field, in order: those of a request (`validation`), or of an answer."""
    schema = model.model_json_schema(mode=mode)
    definitions = schema.get("$defs", {})
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        branches = list(_branches(field, definitions))
        default = field.get("default")
        yield FieldSpec(
            name=name,
            type=" or ".join(_words(each, definitions) for each in _said(branches, mode)),
            default=None if default is None else json.dumps(default, ensure_ascii=False),
            is_required=name in required,
            meaning=field.get("description", ""),
            takes_text=any(each.get("type") == "string" for each in branches),
            takes_null=any(each.get("type") == "null" for each in branches),
            values=tuple(text for each in branches for text in _texts(each)),
        )


def _branches(schema: dict[str, Any], definitions: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The schemas of which a value has to meet one."""
    if "$ref" in schema:
        yield from _branches(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    elif alternatives := schema.get("anyOf") or schema.get("oneOf"):
        for each in alternatives:
            yield from _branches(each, definitions)
    else:
        yield schema


def _said(branches: list[dict[str, Any]], mode: str) -> list[dict[str, Any]]:
    """Those worth a word: that a field can be left out is told by its default."""
    others = [each for each in branches if each.get("type") != "null"]
    return branches if mode == "serialization" else others


def _texts(schema: dict[str, Any]) -> list[str]:
    if schema.get("type") == "boolean":
        return ["true", "false"]
    values = schema.get("enum", [schema["const"]] if "const" in schema else [])
    return [value for value in values if isinstance(value, str)]


def _words(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    kind = schema.get("type", "")
    if kind != "boolean" and (texts := _texts(schema)):
        return ", ".join(f"`{text}`" for text in texts)
    if schema.get("format") == "date-time":
        return "time"
    if kind == "array":
        items = list(_branches(schema.get("items", {}), definitions))
        return "list of " + " or ".join(_words(each, definitions) for each in items)
    if kind == "object" and (inner := schema.get("properties")):
        is_short = len(inner) <= _MOST_NAMED
        return (
            "object of " + ", ".join(map("`{}`".format, inner))
            if is_short
            else schema.get("title", kind)
        )
    return _NAMES.get(kind, "any value") + _range(schema)


def _range(schema: dict[str, Any]) -> str:
    least, most = (
        schema.get("minimum", schema.get("exclusiveMinimum")),
        schema.get("maximum", schema.get("exclusiveMaximum")),
    )
    if least is not None and most is not None:
        return f", {least:.10g} – {most:.10g}"
    if "maxLength" in schema:
        return f" of at most {schema['maxLength']:,} characters"
    return f", at least {least:.10g}" if least is not None else ""
