"""From a JSON schema to its parts; what has to be asked goes to a sheet."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from gateway.filling.scalars import (
    Bounds,
    Confidence,
    Fixed,
    Now,
    Number,
    OneOf,
    TextBounds,
    Words,
    YesOrNo,
)
from gateway.filling.schema import (
    EndlessError,
    Flattener,
    Schema,
    SchemaProblem,
    items_of,
    merge,
    number_of,
    types_of,
)
from gateway.filling.sheet import NO, YES, Sheet
from gateway.filling.wholes import (
    Alike,
    ListBounds,
    Maybe,
    Numbers,
    Object,
    Part,
    Texts,
    Those,
)
from gateway.filling.words import as_question, counted_label, in_words, levels
from schemas.frame import MAX_CHOICE_CHARACTERS, MAX_CHOICES, MIN_CHOICES
from schemas.result import shorten

_MOST_DEPTH = 12
_MOST_PARTS = 500
_MOST_SIZE = 100_000  # values and characters that every answer has to have
_MOST_QUESTION = 500  # characters
_MOST_SAID = 8192  # characters of a description that are looked at
_NUMBERED = 6  # characters of a text that can be told from others by a number

_NUMERIC = {"type": "number"}
_DESCRIBES = frozenset({"description", "scene", "caption", "summary", "short summary", "details"})
_ANSWERS = frozenset({"answer", "response", "response text", "result", "text", "output", "value"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the answer a part is."""

    path: str = ""
    name: str = ""
    depth: int = 0
    times: int = 1  #: how often it is there at least, in lists of lists

    def property(self, name: str) -> "Place":
        """A property of an object here."""
        return replace(
            self, path=f"{self.path}.{name}".lstrip("."), name=name, depth=self.depth + 1
        )

    def item(self, least: int) -> "Place":
        """An item of a list here that has at least so many."""
        times = self.times * max(1, least)
        return replace(self, path=f"{self.path}[]", depth=self.depth + 1, times=times)


class Builder:
    """Makes parts of schemas.

    Args:
        root: What `$ref` refers to.
        sheet: Where is asked.
        context: What the user asked, in short; may be empty.
    """

    def __init__(self, root: object, sheet: Sheet, context: str) -> None:
        self._references = Flattener(root)
        self._sheet = sheet
        self._context = context
        self._num_parts = 0
        self._size = 0
        self._of_type: dict[str, Callable[[Schema, Place], Part]] = {
            "boolean": self._boolean,
            "integer": self._number,
            "number": self._number,
            "string": self._string,
            "array": self._array,
            "object": self._object,
            "null": lambda _schema, _place: Fixed(None),
        }

    def build_root(self, schema: object, place: Place) -> Part:
        """The whole.

        Raises:
            SchemaProblem: It cannot be filled.
        """
        try:
            return self.build(schema, place)
        except EndlessError as error:
            raise SchemaProblem(place.path, "it contains itself without an end") from error

    def build(self, schema: object, place: Place) -> Part:
        """A part.

        Raises:
            SchemaProblem: It cannot be filled.
            EndlessError: It contains itself.
        """
        self._num_parts += 1
        if self._num_parts > _MOST_PARTS:
            raise SchemaProblem(place.path, f"has more than {_MOST_PARTS} parts")
        self._grow(place, 1)
        if place.depth > _MOST_DEPTH:
            raise EndlessError
        flat = self._references.flatten(schema, place.path)
        if "const" in flat:
            return Fixed(flat["const"])
        if "enum" in flat:
            return self._enum(flat, place)
        for keyword in ("anyOf", "oneOf"):
            if keyword in flat:
                base = {name: value for name, value in flat.items() if name != keyword}
                options = [
                    merge(base, self._references.flatten(each, place.path), place.path)
                    for each in items_of(flat, keyword, place.path)
                ]
                return self._first(options, place)
        kinds = types_of(flat, place.path) or [_kind_of(flat)]
        if len(kinds) > 1:
            return self._first([{**flat, "type": kind} for kind in kinds], place)
        if kinds[0] not in self._of_type:
            raise SchemaProblem(place.path, "there is no such type")
        return self._of_type[kinds[0]](flat, place)

    def _grow(self, place: Place, size: int) -> None:
        """Count what an answer has to have at least, in values and characters."""
        self._size += place.times * size
        if self._size > _MOST_SIZE:
            raise SchemaProblem(place.path, "every answer would be too large")

    def _first(self, options: list[Schema], place: Place) -> Part:
        """The first that can be filled; null where nothing is known, if that is one of them."""
        others = [each for each in options if each.get("type") not in ("null", ["null"])]
        failure: Exception = SchemaProblem(place.path, "there is no way to fill it")
        inner = replace(place, depth=place.depth + 1)
        asked, size = self._sheet.mark(), self._size
        for option in others:
            try:
                part = self.build(option, inner)
            except (SchemaProblem, EndlessError) as error:
                failure = error
                self._sheet.back_to(asked)
                self._size = size
                continue
            return Maybe(part) if len(others) < len(options) else part
        if len(others) < len(options):
            return Fixed(None)
        raise failure

    # Single values

    def _enum(self, schema: Schema, place: Place) -> Part:
        values = _values(schema, place.path)
        if not values:
            raise SchemaProblem(place.path, "enum has no value that fits")
        default = schema.get("default", values[0])
        default = default if default in values else values[0]
        named = [(_label(each), each) for each in values]
        labels = [label for label, _ in named]
        if len(values) == 1 or not all(labels):
            return Fixed(default)
        question = self._question(schema, place)
        can_choose = all(len(label) <= MAX_CHOICE_CHARACTERS for label in labels)
        if can_choose and MIN_CHOICES <= len(set(labels)) == len(labels) <= MAX_CHOICES:
            task = self._sheet.choose(question, labels, place.path)
        else:
            task = self._sheet.query(question, place.path)
        return OneOf(task, named, default)

    def _boolean(self, schema: Schema, place: Place) -> Part:
        question = self._question(schema, place, is_yes_or_no=True)
        task = self._sheet.choose(question, (YES, NO), place.path)
        return YesOrNo(task, schema.get("default") is True)

    def _number(self, schema: Schema, place: Place) -> Part:
        is_whole = types_of(schema, place.path) == ["integer"]
        bounds = Bounds.of(schema, place.path, is_whole=is_whole)
        description = _said(schema, "description")
        if in_words(place.name) == "confidence":
            return Confidence(bounds)
        has_default = _fits(schema.get("default"), _NUMERIC)
        default = (number_of(schema, "default", place.path) if has_default else 0) or 0
        label = counted_label(place.name, description)
        if label is not None:
            return Number(self._sheet.count(label, place.path), bounds, default)
        scale = [(w, n) for n, w in levels(description).items() if bounds.nearest(n) == n]
        words = [word for word, _ in scale]
        if MIN_CHOICES <= len(set(words)) == len(words) <= MAX_CHOICES:
            question = self._question({"title": in_words(place.name)}, place)
            task = self._sheet.choose(question, words, place.path)
            return Number(task, bounds, default, scale)
        return Number(self._sheet.query(self._question(schema, place), place.path), bounds, default)

    def _string(self, schema: Schema, place: Place) -> Part:
        now = Now.of(schema)
        if now is not None:
            return now
        bounds = TextBounds.of(schema, place.path)
        self._grow(place, bounds.least)
        default = schema["default"] if isinstance(schema.get("default"), str) else ""
        words = in_words(place.name)
        is_title = words in {"title", "headline"} or words.endswith(" title")
        has_own = bool(_said(schema, "description"))
        if is_title or (words in _DESCRIBES and (has_own or not self._context)):
            return Words(self._sheet.caption(place.path), bounds, default, is_title)
        if words in _DESCRIBES | _ANSWERS and not has_own and self._context:
            task = self._sheet.query(self._context, place.path)
        else:
            task = self._sheet.query(self._question(schema, place), place.path)
        return Words(task, bounds, default)

    # Several

    def _object(self, schema: Schema, place: Place) -> Part:
        properties = schema.get("properties", {})
        if not isinstance(properties, dict):
            raise SchemaProblem(place.path, "properties must be an object")
        required = items_of(schema, "required", place.path)
        if not all(isinstance(each, str) for each in required):
            raise SchemaProblem(place.path, "required must be a list of names")
        others = schema.get("additionalProperties", True)
        named = {**properties, **{name: others for name in required if name not in properties}}
        return Object(dict(self._properties(named, set(required), place)))

    def _properties(
        self, named: dict[str, Any], required: set[str], place: Place
    ) -> Iterator[tuple[str, Part]]:
        for name, schema in named.items():
            try:
                yield name, self.build(schema, place.property(name))
            except EndlessError:
                if name in required:
                    raise

    def _array(self, schema: Schema, place: Place) -> Part:
        bounds = ListBounds.of(schema, place.path)
        self._grow(place, bounds.least)
        items = schema.get("items", {"type": "string"})
        if bounds.most == 0 or items is False:
            if bounds.least:
                raise SchemaProblem(place.path, "no list has as many items")
            return Fixed([])
        try:
            flat = self._references.flatten(items, place.path)
            if "enum" in flat:
                return self._those(flat, bounds, schema, place)
            kinds = types_of(flat, place.path) or [_kind_of(flat)]
            is_plain = not {"const", "anyOf", "oneOf"} & flat.keys()
            if is_plain and kinds == ["string"] and Now.of(flat) is None:
                return self._texts(flat, bounds, schema, place)
            if is_plain and kinds in (["integer"], ["number"]):
                return self._numbers(flat, bounds, schema, place)
            return self._alike(flat, bounds, place)
        except EndlessError:
            if bounds.least:
                raise
            return Fixed([])

    def _those(self, items: Schema, bounds: ListBounds, schema: Schema, place: Place) -> Part:
        """Of a list of possible values, each is asked for by itself."""
        values = _values(items, place.path)
        if bounds.least and (not values or (bounds.are_unique and bounds.least > len(values))):
            raise SchemaProblem(place.path, "no list has as many items")
        question = self._question(schema, place).rstrip(".?")
        asked = [
            (self._sheet.choose(_about(question, each), (YES, NO), place.path), each)
            for each in values
        ]
        return Those(asked, bounds) if asked else Fixed([])

    def _texts(self, items: Schema, bounds: ListBounds, schema: Schema, place: Place) -> Part:
        texts = TextBounds.of(items, place.path)
        self._grow(place, bounds.least * (texts.least + 1))
        if bounds.are_unique and texts.most is not None and texts.most < _NUMBERED:
            raise SchemaProblem(place.path, "texts that short are not kept apart")
        task = self._sheet.query(self._question(schema, place), place.path)
        return Texts(task, bounds, texts)

    def _numbers(self, items: Schema, bounds: ListBounds, schema: Schema, place: Place) -> Part:
        self._refuse_unique(bounds, place)
        is_whole = types_of(items, place.path) == ["integer"]
        numbers = Bounds.of(items, place.path, is_whole=is_whole)
        task = self._sheet.query(self._question(schema, place), place.path)
        return Numbers(task, bounds, numbers)

    def _alike(self, items: Schema, bounds: ListBounds, place: Place) -> Part:
        self._refuse_unique(bounds, place)
        return Alike(self.build(items, place.item(bounds.least)), bounds)

    def _refuse_unique(self, bounds: ListBounds, place: Place) -> None:
        if bounds.are_unique and bounds.least > 1:
            raise SchemaProblem(place.path, "different items are only made of texts")

    def _question(self, schema: Schema, place: Place, *, is_yes_or_no: bool = False) -> str:
        """From its description, else its title, else its name, behind what the user asked."""
        own = _said(schema, "description")
        words = own or in_words(_said(schema, "title") or place.name)
        if not own and words and not is_yes_or_no:
            words = f"What is the {words.rstrip('.?')}?"
        question = as_question(words, is_yes_or_no=is_yes_or_no) if words else ""
        if not own and self._context:
            question = f"{self._context} {question}"
        return shorten(question.strip() or "What is this?", _MOST_QUESTION)


def _values(schema: Schema, path: str) -> list[Any]:
    """Those of an `enum` that are of its type, each once."""
    named = {
        json.dumps(each, sort_keys=True): each
        for each in items_of(schema, "enum", path)
        if _fits(each, schema)
    }
    return list(named.values())


def _said(schema: Schema, name: str) -> str:
    text = schema.get(name)
    return text[:_MOST_SAID].strip() if isinstance(text, str) else ""


def _kind_of(schema: Schema) -> str:
    """What a schema without a type is about."""
    for kind, keywords in {
        "object": {"properties", "required", "additionalProperties"},
        "array": {"items", "minItems", "maxItems", "uniqueItems"},
        "number": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"},
    }.items():
        if keywords & schema.keys():
            return kind
    return "string"


def _fits(value: object, schema: Schema) -> bool:
    """Whether a value is of the schema's type."""
    kinds = schema.get("type")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    return not kinds or any(_is_of(value, kind) for kind in kinds)


def _is_of(value: object, kind: str) -> bool:
    if isinstance(value, bool) or kind == "boolean":
        return isinstance(value, bool) and kind == "boolean"
    if kind == "integer":
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    classes = {"string": str, "number": (int, float), "null": type(None), "array": list}
    return isinstance(value, classes.get(kind, dict))  # type: ignore[arg-type]


def _about(question: str, value: object) -> str:
    """Whether a value is in the answer to a question."""
    return f"{question}: {shorten(_label(value) or '?', _MOST_QUESTION)}?"


def _label(value: object) -> str:
    """The text that stands for a value; empty where there is none."""
    if isinstance(value, bool):
        return YES if value else NO
    if value is None:
        return "none"
    return str(value).strip() if isinstance(value, str | int | float) else ""
