"""Topic patterns of foreign systems."""

import pytest

from broker.patterns import CameraPattern


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
