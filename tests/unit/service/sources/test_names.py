"""Which camera a foreign name means, also after a restart."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.frame import is_camera_id
from service.sources.names import Names


class Registry:
    """The names that cameras are kept under."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    def names(self) -> Names:
        """As after a start."""
        return Names(self.kept.get)

    def know(self, names: Names, name: str) -> str:
        """The camera of a name, whose frame is accepted."""
        camera_id = names.camera_of(name)
        assert camera_id is not None
        self.kept[camera_id] = name
        return camera_id


@pytest.mark.parametrize(
    ("name", "camera_id"),
    [
        ("front_door", "front_door"),
        ("Front Door", "Front_Door"),
        ("Küche", "K_che"),
        ("a.b:c", "a_b_c"),
        ("-", "-"),
    ],
)
def test_name_becomes_an_id(name: str, camera_id: str) -> None:
    assert Registry().names().camera_of(name) == camera_id


def test_word_that_is_taken_becomes_another() -> None:
    assert str(Registry().names().camera_of("bridge")).startswith("bridge_")


def test_no_name_is_no_camera() -> None:
    assert Registry().names().camera_of("") is None


def test_long_name_is_cut_and_told_from_its_like() -> None:
    first, second = (Registry().names().camera_of("x" * 100 + each) for each in "ab")
    assert first != second
    assert is_camera_id(str(first))


def test_what_the_operator_says_of_a_name_counts() -> None:
    names = Registry().names()
    assert names.camera_of("4K01", {"4K01": "front_door"}) == "front_door"


@pytest.mark.parametrize("name", ["front_door", "front.door"])
def test_no_other_name_speaks_for_a_camera_that_is_named_by_hand(name: str) -> None:
    registry = Registry()
    names = registry.names()
    other = names.camera_of(name, {"4K01": "front_door"})
    assert str(other).startswith("front_door_")
    registry.kept[str(other)] = name
    assert registry.names().camera_of(name, {"4K01": "front_door"}) == other


def test_name_that_looks_like_anothers_id_is_told_apart() -> None:
    """Both ways: whichever of them is heard of first."""
    registry = Registry()
    names = registry.names()
    registry.know(names, "Front Door")
    looks_so = Registry()
    looks_so.kept["Front_Door"] = "Front Door"
    forged = str(looks_so.names().camera_of("Front.Door"))
    assert registry.know(names, forged) == forged
    other = registry.know(names, "Front.Door")
    assert other != forged
    assert is_camera_id(other)
    assert [names.camera_of(each) for each in (forged, "Front.Door")] == [forged, other]
    assert registry.names().camera_of("Front.Door") == other


@pytest.mark.parametrize(
    "order", list(itertools.permutations(["Front Door", "Front.Door", "Front_Door"]))
)
def test_names_that_become_the_same_stay_apart_whatever_comes_first(order: tuple[str, ...]) -> None:
    registry = Registry()
    names = registry.names()
    given_ids = {name: registry.know(names, name) for name in order}
    assert given_ids[order[0]] == "Front_Door"
    assert len(set(given_ids.values())) == 3
    for again in itertools.permutations(order):  # each is a restart
        names = registry.names()
        assert {name: names.camera_of(name) for name in again} == given_ids


def test_new_name_after_a_restart_does_not_take_anothers_camera() -> None:
    registry = Registry()
    registry.know(registry.names(), "Front Door")
    names = registry.names()
    assert str(names.camera_of("Front.Door")).startswith("Front_Door_")
    assert names.camera_of("Front Door") == "Front_Door"


def test_names_of_one_group_are_told_apart_before_a_frame_is_accepted() -> None:
    names = Registry().names()
    assert names.camera_of("Front Door") != names.camera_of("Front.Door")


def test_camera_that_is_known_under_no_foreign_name_is_meant_by_the_first() -> None:
    """As one that the file configures."""
    names = Names({"Front_Door": None}.get)
    assert names.camera_of("Front Door") == "Front_Door"


def test_invented_names_cost_bounded_memory() -> None:
    names = Registry().names()
    for number in range(10_000):
        names.camera_of(f"camera {number}")
    assert len(names._given) <= 4096


@given(st.text(min_size=1, max_size=200))
def test_any_name_becomes_an_id(name: str) -> None:
    assert is_camera_id(str(Registry().names().camera_of(name)))
