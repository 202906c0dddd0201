"""Home Assistant's birth message is noticed, and nothing else on its topic."""

import pytest

from broker.message import NO_PROPERTIES, Message
from service.sources.home_assistant import BirthMessages
from tests.support.factories import NOON

TOPIC = "homeassistant/status"


def message(payload: bytes, *, retain: bool = False) -> Message:
    return Message(
        topic=TOPIC,
        payload=payload,
        qos=0,
        retain=retain,
        dup=False,
        properties=NO_PROPERTIES,
        arrived_at=NOON,
        arrived_monotonic=0.0,
        mid=1,
        generation=1,
    )


@pytest.mark.parametrize(
    ("payload", "is_birth"),
    [
        (b"online", True),
        (b"offline", False),
        (b"", False),
        (b"online ", False),
        (b"\xff\xfe", False),
        (b"x" * 1_000_000, False),
        (b'{"camera_id": "front"}', False),
    ],
)
def test_only_the_birth_message_is_told(payload: bytes, is_birth: bool) -> None:
    births: list[None] = []
    source = BirthMessages(TOPIC, "online", lambda: births.append(None))
    for retain in (False, True):
        source.read(message(payload, retain=retain))
    assert len(births) == 2 * is_birth


def test_only_its_topic_is_claimed() -> None:
    source = BirthMessages(TOPIC, "online", lambda: None)
    assert [each.topic_filter for each in source.subscriptions] == [TOPIC]
    assert source.claims(TOPIC)
    assert not source.claims(f"{TOPIC}/frame")
