"""A JSON schema as it comes from a client, read with care: it may be wrong, huge or endless.

Keywords that would narrow what is valid and are not known here are refused: an answer that does not
keep to its schema is worse than none.
"""

import math
from collections.abc import Mapping
from typing import Any

from gateway.problems import Problem

Schema = dict[str, Any]

_REFUSED = (
    "not",
    "if",
    "pattern",
    "patternProperties",
    "propertyNames",
    "minProperties",
    "maxProperties",
    "contains",
    "prefixItems",
    "dependentRequired",
    "dependentSchemas",
    "dependencies",
    "unevaluatedProperties",
    "unevaluatedItems",
    "$dynamicRef",
)
_GREATER = frozenset({"minimum", "exclusiveMinimum", "minLength", "minItems"})
_SMALLER = frozenset({"maximum", "exclusiveMaximum", "maxLength", "maxItems"})
_MOST_BITS = 1000  # beyond, a number is no float any more
_MOST_DEPTH = 32  # of references and allOf within each other
_MOST_STEPS = 5000  # references followed for one schema


class SchemaProblem(Problem):
    """A schema that cannot be filled.

    Args:
        path: Where in the answer, e.g. `cars[].colour`.
        message: Why.
    """

    def __init__(self, path: str, message: str) -> None:
        super().__init__(
            "bad_field", f"schema, {path or 'its root'}: {message}", param="response_format"
        )


class EndlessError(Exception):
    """A schema that contains itself; what it is part of has to end it."""


class Flattener:
    """Resolves what refers to other places of a schema.

    Args:
        root: What `$ref` refers to.
    """

    def __init__(self, root: object) -> None:
        self._root = root
        self._num_steps = 0

    def flatten(self, schema: object, path: str, depth: int = 0) -> Schema:
        """The schema without `$ref` and `allOf` at its top.

        Raises:
            SchemaProblem: It is none, or uses what is not known.
            EndlessError: It refers to itself.
        """
        self._num_steps += 1
        if depth > _MOST_DEPTH:
            raise EndlessError
        if self._num_steps > _MOST_STEPS:
            raise SchemaProblem(path, "has too many references")
        if schema is True:
            return {}
        if not isinstance(schema, dict):
            raise SchemaProblem(path, "is no schema that anything could satisfy")
        for keyword in _REFUSED:
            if keyword in schema:
                raise SchemaProblem(path, f"the keyword {keyword} is not supported")
        flat = {name: value for name, value in schema.items() if name not in {"$ref", "allOf"}}
        if "$ref" in schema:
            target = _target(schema["$ref"], self._root, path)
            flat = merge(self.flatten(target, path, depth + 1), flat, path)
        for part in items_of(schema, "allOf", path):
            flat = merge(flat, self.flatten(part, path, depth + 1), path)
        return flat


def _target(reference: object, root: object, path: str) -> object:
    if not isinstance(reference, str) or not reference.startswith("#"):
        raise SchemaProblem(path, "$ref: only references within the schema are followed")
    found = root
    for step in reference[1:].split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict) and name in found:
            found = found[name]
        elif isinstance(found, list) and name.isdecimal() and int(name[:9]) < len(found):
            found = found[int(name[:9])]
        else:
            raise SchemaProblem(path, "$ref: there is nothing at its place")
    return found


def merge(first: Schema, second: Schema, path: str) -> Schema:
    """A schema that satisfies both.

    Raises:
        SchemaProblem: They say what cannot be put into one.
    """
    both = {**first, **second}
    for name in first.keys() & second.keys():
        mine, other = first[name], second[name]
        if name in _GREATER | _SMALLER and _is_number(mine) and _is_number(other):
            both[name] = max(mine, other) if name in _GREATER else min(mine, other)
        elif name == "type":
            both[name] = _common_types(types_of(first, path), types_of(second, path))
        elif name == "enum":
            both[name] = [each for each in items_of(first, name, path) if each in other]
        elif name == "required":
            both[name] = [*items_of(first, name, path), *items_of(second, name, path)]
        elif name == "properties":
            both[name] = _both_properties(mine, other, path)
        elif name in {"items", "additionalProperties"} and mine != other:
            both[name] = {"allOf": [mine, other]}
        elif name in {"anyOf", "oneOf", "const"} and mine != other:
            raise SchemaProblem(path, f"two {name} for one value are not supported")
    return both


def _both_properties(mine: object, other: object, path: str) -> object:
    if not isinstance(mine, dict) or not isinstance(other, dict):
        raise SchemaProblem(path, "properties must be an object")
    shared = {name: {"allOf": [mine[name], other[name]]} for name in mine.keys() & other.keys()}
    return {**mine, **other, **shared}


def _common_types(mine: list[str], other: list[str]) -> list[str]:
    def within(name: str, names: list[str]) -> bool:
        return name in names or (name == "integer" and "number" in names)

    return list(
        dict.fromkeys(
            [each for each in mine if within(each, other)]
            + [each for each in other if within(each, mine)]
        )
    )


def types_of(schema: Mapping[str, Any], path: str) -> list[str]:
    """What `type` names; empty where there is none."""
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if not isinstance(kinds, list) or not all(isinstance(kind, str) for kind in kinds):
        raise SchemaProblem(path, "type must be a name or a list of names")
    if "type" in schema and not kinds:
        raise SchemaProblem(path, "nothing can be of all its types")
    return kinds


def items_of(schema: Mapping[str, Any], name: str, path: str) -> list[Any]:
    """The list under a keyword; empty where there is none."""
    value = schema.get(name, [])
    if not isinstance(value, list):
        raise SchemaProblem(path, f"{name} must be a list")
    return value


def number_of(schema: Mapping[str, Any], name: str, path: str) -> float | int | None:
    """The number under a keyword; None where there is none."""
    value = schema.get(name)
    if value is None:
        return None
    if not _is_number(value):
        raise SchemaProblem(path, f"{name} must be a number")
    if (isinstance(value, int) and value.bit_length() > _MOST_BITS) or not math.isfinite(value):
        raise SchemaProblem(path, f"{name} is too large")
    return value  # type: ignore[no-any-return]  # just checked


def size_of(schema: Mapping[str, Any], name: str, path: str, most: int) -> int | None:
    """The same for a length, which must be sensible."""
    value = number_of(schema, name, path)
    if value is None:
        return None
    if value < 0 or value != int(value) or (name.startswith("min") and value > most):
        raise SchemaProblem(path, f"{name} must be a whole number, at most {most}")
    return int(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
