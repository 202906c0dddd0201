import json
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.codec import Codec


@dataclass(frozen=True, slots=True)
class Leaf:
    weight: float


@dataclass(frozen=True, slots=True)
class Fruit:
    seeds: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tree:
    name: str
    is_green: bool
    height: int
    parts: tuple[Leaf | Fruit, ...]
    bark: bytes = b""
    ages: dict[str, float] | None = None
    kind: Literal["oak", "elm"] | None = None
    first: Leaf | None = None


TREES: Codec[Tree] = Codec(Tree)
FULL = Tree("Ü", True, 3, (Leaf(0.5), Fruit((1, 2))), b"\0\xff", {"a": 1.0}, "oak", Leaf(2.0))


@pytest.mark.parametrize("tree", [FULL, Tree("", False, 0, ())], ids=["full", "bare"])
def test_codec_gives_back_what_it_was_given(tree: Tree) -> None:
    assert TREES.decode(TREES.encode(tree)) == tree


def changed(**fields: object) -> str:
    return json.dumps({**json.loads(TREES.encode(FULL)), **fields})


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"name": 5}, "Tree.name"),
        ({"is_green": 1}, "Tree.is_green"),
        ({"height": True}, "Tree.height"),
        ({"height": 1.5}, "Tree.height"),
        ({"parts": {}}, "Tree.parts"),
        ({"parts": [{"weight": 1}]}, "Tree.parts"),
        ({"parts": [["Stone", {}]]}, "Tree.parts: 'Stone'"),
        ({"parts": [["Leaf", {}]]}, "Leaf: weight is missing"),
        ({"parts": [["Leaf", {"weight": "much"}]]}, "Leaf.weight"),
        ({"parts": [["Leaf", {"weight": 10**400}]]}, "Leaf.weight: too large"),
        ({"parts": [["Fruit", {"seeds": [1, None]}]]}, "Fruit.seeds"),
        ({"bark": "äöü"}, "Tree.bark"),
        ({"bark": "AAA"}, "Tree.bark"),
        ({"ages": {"a": "old"}}, "Tree.ages"),
        ({"kind": "ash"}, "Tree.kind"),
        ({"kind": ["oak"]}, "Tree.kind"),
        ({"first": 5}, "Leaf"),
        ({"root": 1}, "'root' is unknown"),
    ],
)
def test_decode_of_a_wrong_field_names_it(fields: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        TREES.decode(changed(**fields))


def test_encode_of_a_wrong_field_names_it() -> None:
    with pytest.raises(ValueError, match=r"Tree\.height"):
        TREES.encode(Tree("a", True, "3", ()))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"Tree\.parts"):
        TREES.encode(Tree("a", True, 3, (FULL,)))  # type: ignore[arg-type]


def test_type_that_cannot_travel_is_refused_when_the_codec_is_made() -> None:
    @dataclass
    class Odd:
        anything: Any

    with pytest.raises(TypeError, match=r"Odd\.anything"):
        Codec(Odd)


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.sampled_from([*json.loads(TREES.encode(FULL))]), JSON)
def test_any_value_in_a_field_is_read_or_refused(name: str, value: object) -> None:
    try:
        tree = TREES.decode(changed(**{name: value}))
    except ValueError:
        return
    TREES.encode(tree)


@given(JSON | st.binary(max_size=200))
def test_whatever_arrives_is_refused_with_a_value_error(value: object) -> None:
    data = value if isinstance(value, bytes) else json.dumps(value)
    with pytest.raises(ValueError):
        TREES.decode(data)


def test_nesting_without_end_is_refused() -> None:
    with pytest.raises(ValueError, match="deep"):
        TREES.decode("[" * 100_000)
