"""JSON schemas for tests: what clients send, and whatever hypothesis makes of the same keywords."""

from typing import Any

from hypothesis import strategies as st

#: What Frigate 0.18 wants to know of a review, in its shape.
FRIGATE_REVIEW: dict[str, Any] = {
    "type": "object",
    "title": "ReviewMetadata",
    "additionalProperties": False,
    "properties": {
        "observations": {
            "description": "List the significant observations in order.",
            "items": {"maxLength": 200, "minLength": 20, "type": "string"},
            "maxItems": 8,
            "minItems": 3,
            "type": "array",
        },
        "scene": {
            "description": "What happens from start to finish.",
            "maxLength": 600,
            "minLength": 150,
            "type": "string",
        },
        "title": {"description": "Title for the activity.", "maxLength": 80, "type": "string"},
        "shortSummary": {
            "description": "A summary.",
            "maxLength": 140,
            "minLength": 70,
            "type": "string",
        },
        "confidence": {"maximum": 1.0, "minimum": 0.0, "type": "number"},
        "potential_threat_level": {
            "description": "Level: 0 = normal, 1 = suspicious, 2 = critical threat.",
            "maximum": 2,
            "minimum": 0,
            "type": "integer",
        },
        "other_concerns": {
            "anyOf": [{"items": {"type": "string"}, "type": "array"}, {"type": "null"}],
            "default": None,
            "description": "Other concerns that are observed.",
        },
    },
    "required": ["observations", "scene", "title", "shortSummary", "confidence"],
}

_NAMES = st.sampled_from(
    [
        "title",
        "description",
        "count_cars",
        "confidence",
        "is_open",
        "colour",
        "x",
        "answer",
        "",
        "ß",
    ]
)
_DESCRIPTIONS = st.sampled_from(
    ["How many cars are there?", "Level: 0 = low, 1 = high", "Whether it is wet", "Colours", ""]
)


def _spans(names: tuple[str, str], most: int) -> st.SearchStrategy[dict[str, Any]]:
    """Two limits, either of which may be missing."""
    limits = st.integers(0, most)

    def named(low: int | None, more: int | None) -> dict[str, Any]:
        found = {} if low is None else {names[0]: low}
        return found if more is None else {**found, names[1]: (low or 0) + more}

    return st.builds(named, st.none() | limits, st.none() | limits)


_STRINGS = _spans(("minLength", "maxLength"), 60).map(lambda size: {"type": "string", **size})
_NUMBERS = st.builds(
    lambda kind, span, shift: {
        "type": kind,
        **{name: value - shift for name, value in span.items()},
    },
    st.sampled_from(["integer", "number"]),
    _spans(("minimum", "maximum"), 50),
    st.integers(0, 100),
)
_MULTIPLES = st.integers(1, 20).map(lambda step: {"type": "integer", "multipleOf": step})
_EXCLUSIVE = st.integers(-50, 50).map(
    lambda low: {"type": "number", "exclusiveMinimum": low, "exclusiveMaximum": low + 1.5}
)
_OTHERS = st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"const": 5}, {}, True])
_ENUMS = st.lists(st.text(max_size=80) | st.none(), min_size=1, max_size=20, unique=True).map(
    lambda values: {"enum": values}
)
_LEAVES = st.one_of(_STRINGS, _NUMBERS, _MULTIPLES, _EXCLUSIVE, _OTHERS, _ENUMS)


def _described(schema: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(
        lambda content, text: {**content, "description": text} if content is not True else True,
        schema,
        _DESCRIPTIONS,
    )


def _wholes(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    def made_of(properties: dict[str, Any], number: int, others: bool) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": properties,
            "required": list(properties)[:number],
            "additionalProperties": others,
        }

    objects = st.builds(
        made_of, st.dictionaries(_NAMES, parts, max_size=6), st.integers(0, 6), st.booleans()
    )
    lists = st.builds(
        lambda items, size: {"type": "array", "items": items, **size},
        parts,
        _spans(("minItems", "maxItems"), 5),
    )
    maybe = parts.map(lambda part: {"anyOf": [part, {"type": "null"}]})
    different = _spans(("minItems", "maxItems"), 5).map(
        lambda size: {"type": "array", "items": {"type": "string"}, "uniqueItems": True, **size}
    )
    return st.one_of(objects, lists, maybe, different)


def schemas() -> st.SearchStrategy[Any]:
    """Everything that clients can say with the keywords that are supported."""
    return st.recursive(
        _described(_LEAVES), lambda parts: _described(_wholes(parts)), max_leaves=12
    )
