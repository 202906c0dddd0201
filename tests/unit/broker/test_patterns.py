"""Topic patterns of foreign systems."""

import pytest

from broker.patterns import CameraPattern, covers, overlap


def test_compile_gives_the_filter_and_the_camera() -> None:
    pattern = CameraPattern.compile("ring/+/camera/{camera}/snapshot/image")
    assert pattern.topic_filter == "ring/+/camera/+/snapshot/image"
    assert pattern.name_of("ring/a1/camera/front_door/snapshot/image") == "front_door"


def test_compile_takes_a_hash_at_the_end() -> None:
    pattern = CameraPattern.compile("nvr/{camera}/#")
    assert pattern.topic_filter == "nvr/+/#"
    assert pattern.name_of("nvr/front/person/snapshot") == "front"


@pytest.mark.parametrize("topic", ["ring/a/camera/front/y", "ring/a/b/front/x", "ring"])
def test_name_of_another_topic_is_none(topic: str) -> None:
    assert CameraPattern.compile("ring/+/camera/{camera}/x").name_of(topic) is None


@pytest.mark.parametrize(
    "pattern", ["a/b", "{camera}/{camera}", "a/#/{camera}", "a+/{camera}", "x{camera}", "{cam}/x"]
)
def test_compile_refuses_what_mqtt_or_we_cannot_match(pattern: str) -> None:
    with pytest.raises(ValueError, match="level"):
        CameraPattern.compile(pattern)


@pytest.mark.parametrize(
    ("one", "other", "is_so"),
    [
        ("a/b", "a/b", True),
        ("a/+", "a/b", True),
        ("a/+/c", "a/b/+", True),
        ("a/#", "a", True),
        ("#", "a/b/c", True),
        ("a/b", "a/c", False),
        ("a/b", "a/b/c", False),
        ("a/+", "a/b/#", True),
        ("a/+/c/#", "a/b", False),
    ],
)
def test_overlap_finds_a_common_topic(one: str, other: str, is_so: bool) -> None:
    assert overlap(one, other) == overlap(other, one) == is_so


@pytest.mark.parametrize(
    ("outer", "inner", "is_so"),
    [
        ("a/+", "a/b", True),
        ("a/#", "a", True),
        ("a/#", "a/+/c", True),
        ("a/+/#", "a/b/#", True),
        ("a/b", "a/+", False),
        ("a/+", "a/#", False),
        ("a/+", "a/b/c", False),
        ("a/b/c", "a/b", False),
        ("#", "$SYS/a", False),
    ],
)
def test_covers_says_whether_nothing_is_left(outer: str, inner: str, is_so: bool) -> None:
    assert covers(outer, inner) is is_so
