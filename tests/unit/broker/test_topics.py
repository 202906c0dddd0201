"""Topics: built, parsed, and what a stranger may name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.topics import TABLE, Topics, matches, spec_of, valid_response_topic
from schemas.frame import CAMERA_ID_PATTERN

BASE = "moondream2mqtt"
ALLOWED = ("{base}/response/{camera}/#",)
WIDER = ("{base}/response/#",)


def test_topics_of_a_camera_are_those_of_the_table() -> None:
    topics = Topics("home/ai")
    built = {
        "frame": topics.frame("front"),
        "status": topics.status("front"),
        "caption": topics.caption("front"),
        "settings": topics.settings("front"),
        "image": topics.image("front"),
        "set": topics.of_camera("front", "set/<setting>"),
        "bridge/state": topics.bridge("state"),
        "bridge/info": topics.bridge("info"),
        "bridge/stats": topics.bridge("stats"),
        "bridge/metrics": topics.bridge("metrics"),
        "bridge/health": topics.bridge("health"),
        "bridge/dead_letter": topics.bridge("dead_letter"),
        "bridge/log": topics.bridge("log"),
        "bridge/request": topics.request("<operation>"),
        "bridge/response": topics.response("<operation>"),
        "bridge/batch": topics.batch("<batch_id>"),
        "bridge/update": topics.bridge("update"),
    }
    assert built == {
        spec.name: spec.pattern.replace("<base>", "home/ai").replace("<camera>", "front")
        for spec in TABLE
    }


def test_topic_filter_gets_every_topic_of_the_pattern() -> None:
    filters = {spec.name: spec.topic_filter("home/ai") for spec in TABLE}
    assert filters["status"] == "home/ai/+/status"
    assert spec_of("status").topic_filter("home/ai", "front") == "home/ai/front/status"
    assert matches(Topics("home/ai").request("job/get"), filters["bridge/request"])
    assert matches(Topics("home/ai").request("info"), filters["bridge/request"])
    assert not any("<" in each for each in filters.values())


@pytest.mark.parametrize("camera_id", ["", "a/b", "+", "#", "bridge", "ü", "a" * 65, "a\n", "a\0"])
def test_of_camera_refuses_what_is_no_camera_id(camera_id: str) -> None:
    with pytest.raises(ValueError, match="camera id"):
        Topics(BASE).status(camera_id)


def test_camera_of_frame_reverses_frame() -> None:
    topics = Topics("home/ai")
    assert topics.camera_of_frame(topics.frame("garage_2")) == "garage_2"


@pytest.mark.parametrize(
    "topic",
    [
        "moondream2mqtt/bridge/frame",
        "moondream2mqtt/a/b/frame",
        "moondream2mqtt//frame",
        "moondream2mqtt/frame",
        "moondream2mqtt/front/frames",
        "other/front/frame",
        "moondream2mqtt/front yard/frame",
    ],
)
def test_camera_of_frame_of_another_topic_is_none(topic: str) -> None:
    assert Topics(BASE).camera_of_frame(topic) is None


@pytest.mark.parametrize(
    ("topic", "topic_filter", "expected"),
    [
        ("a/b/c", "a/b/c", True),
        ("a/b/c", "a/+/c", True),
        ("a/b/c", "a/#", True),
        ("a", "a/#", True),  # the parent level belongs to it
        ("a/b", "a/+/c", False),
        ("a/b/c", "a/+", False),
        ("a/", "a/+", True),
        ("$SYS/a", "#", False),
        ("$SYS/a", "+/a", False),
        ("$SYS/a", "$SYS/#", True),
    ],
)
def test_matches_follows_the_protocol(topic: str, topic_filter: str, expected: bool) -> None:
    assert matches(topic, topic_filter) is expected


@pytest.mark.parametrize("topic", ["response/front", "response/front/me", "response/front/a/b"])
def test_valid_response_topic_takes_what_the_operator_allows(topic: str) -> None:
    assert valid_response_topic(f"{BASE}/{topic}", ALLOWED, BASE, "front")


def test_valid_response_topic_takes_the_answers_of_the_bridge_when_allowed() -> None:
    topic, allowed = f"{BASE}/bridge/response/x", ("{base}/bridge/response/#",)
    assert valid_response_topic(topic, allowed, BASE, "front")


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "elsewhere",
        "moondream2mqtt/response",
        "moondream2mqtt/response/back",
        "moondream2mqtt/response/back/1",
        "moondream2mqtt/response/frontal/1",
        "moondream2mqtt/response/front/+",
        "moondream2mqtt/response/front/#",
        "moondream2mqtt/response/front/a\0",
        "moondream2mqtt/response/front/a\nb",
        "moondream2mqtt/response/front/\ud800",
        "moondream2mqtt/response/front/" + "é" * 114,
        "moondream2mqtt/response/front" + "/" * 30,
        "moondream2mqtt/response/front" + "/" * 205,
        "$share/g/moondream2mqtt/response/front/a",
    ],
)
def test_valid_response_topic_refuses_what_is_not_allowed(topic: str) -> None:
    assert not valid_response_topic(topic, ALLOWED, BASE, "front")


def test_valid_response_topic_takes_32_levels() -> None:
    assert valid_response_topic(f"{BASE}/response/front" + "/" * 29, ALLOWED, BASE, "front")


def test_valid_response_topic_of_another_camera_is_taken_where_the_operator_widens_it() -> None:
    assert valid_response_topic(f"{BASE}/response/back/1", WIDER, BASE, "front")


@pytest.mark.parametrize("topic", ["response/requests", "response/requests/1"])
def test_valid_response_topic_keeps_the_place_of_requests_from_a_camera_of_that_name(
    topic: str,
) -> None:
    assert not valid_response_topic(f"{BASE}/{topic}", ALLOWED, BASE, "requests")
    assert valid_response_topic(f"{BASE}/{topic}", WIDER, BASE, "requests")


@pytest.mark.parametrize(
    "topic",
    [
        "moondream2mqtt/front/frame",
        "moondream2mqtt/front/status",
        "moondream2mqtt/front/caption",
        "moondream2mqtt/front/settings",
        "moondream2mqtt/response/frame",
        "moondream2mqtt/response/set/front",
        "moondream2mqtt/front/set/cooldown",
        "moondream2mqtt/bridge/state",
        "moondream2mqtt/bridge/request/queue/clear",
        "$SYS/broker/version",
    ],
)
@pytest.mark.parametrize("camera_id", ["front", "frame"])
def test_valid_response_topic_never_takes_our_own_whatever_is_allowed(
    topic: str, camera_id: str
) -> None:
    assert not valid_response_topic(topic, ("#", "$SYS/#", *ALLOWED), BASE, camera_id)


@given(st.text(max_size=300), st.from_regex(CAMERA_ID_PATTERN, fullmatch=True))
def test_valid_response_topic_leaves_nothing_outside_the_cameras_own(
    text: str, camera_id: str
) -> None:
    for topic in (text, f"{BASE}/response/{text}", f"{BASE}/response/{camera_id}/{text}"):
        if valid_response_topic(topic, ALLOWED, BASE, camera_id):
            assert topic.startswith(f"{BASE}/response/{camera_id}")
            assert not set(topic) & set("+#\0\n")
            assert len(topic.encode()) <= 256
            assert topic.count("/") < 32


@pytest.mark.parametrize(
    ("topic", "is_published"),
    [
        ("home/front/image", True),
        ("home/front/caption", True),
        ("home/bridge/stats", True),
        ("home/bridge/response/job/get", True),
        ("home/bridge/batch/x", True),
        ("home/response/front/mine", True),
        ("home/front/frame", False),
        ("home/front/other", False),
        ("home/a/b/image", False),
        ("other/front/image", False),
    ],
)
def test_is_published_knows_what_the_service_says_itself(topic: str, is_published: bool) -> None:
    assert Topics("home").is_published(topic) is is_published
