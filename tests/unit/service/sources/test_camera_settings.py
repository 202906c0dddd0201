"""Plain values on the topics that set a camera's settings."""

from typing import Any

import pytest

from broker.codec import PayloadError
from broker.message import NO_PROPERTIES, Message
from broker.topics import Topics
from service.operations.operations import Operations
from service.sources.camera_settings import SettingTopics, read_value
from tests.support.factories import NOON


def message(topic: str, payload: bytes = b"1") -> Message:
    return Message(
        topic=topic,
        payload=payload,
        qos=1,
        retain=False,
        dup=False,
        properties=NO_PROPERTIES,
        arrived_at=NOON,
        arrived_monotonic=0.0,
        mid=1,
        generation=1,
    )


@pytest.mark.parametrize(
    ("setting", "payload", "expected"),
    [
        ("cooldown", b"12", "12"),
        ("cooldown", b" 12\n", "12"),
        ("enabled", b"ON", "ON"),
        ("prompt", b"[short] Who?", "[short] Who?"),
        ("prompt", b'"Who?"', "Who?"),
        ("prompt", b'"', '"'),
        ("prompt", b'"Yard" or "street"', '"Yard" or "street"'),
        ("location", b'"Yard\n2"', '"Yard\n2"'),
        ("tasks", b'["caption"]', ["caption"]),
        ("webhook_headers", b'{"A": "b"}', {"A": "b"}),
        ("prompt", b"", None),
        ("prompt", b" \n", None),
        ("prompt", b"null", None),
        ("prompt", b"\xef\xbb\xbfWho?", "Who?"),
    ],
)
def test_plain_value_is_read(setting: str, payload: bytes, expected: Any) -> None:
    assert read_value(setting, payload) == expected


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"[", "bad_json"),
        (b"{" * 100, "bad_json"),
        (b'"a" "b"', "bad_json"),
        (b"\xff", "bad_json"),
        (b"x" * 70_000, "payload_too_large"),
    ],
)
def test_value_that_cannot_be_read_is_refused(payload: bytes, code: str) -> None:
    with pytest.raises(PayloadError) as refused:
        read_value("tasks", payload)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("topic", "is_claimed"),
    [
        ("home/front/set/cooldown", True),
        ("home/bridge/set/cooldown", True),  # to be refused by name
        ("home/front/set", False),
        ("home/front/set/a/b", False),
        ("home/front/frame", False),
        ("other/front/set/cooldown", False),
    ],
)
def test_only_what_sets_something_is_claimed(topic: str, is_claimed: bool) -> None:
    assert SettingTopics(Topics("home"), Operations(())).claims(topic) is is_claimed


def test_flood_is_bounded_and_named_once(caplog: pytest.LogCaptureFixture) -> None:
    source = SettingTopics(Topics("home"), Operations(()))
    for number in range(1000):
        source.read(message(f"home/camera-{number}/set/prompt", b"x" * 1_000_000))
    assert source._waiting.qsize() == 200
    held = sum(len(source._waiting.get_nowait().payload) for _ in range(200))
    assert held <= 200 * (64 * 1024 + 1)
    [record] = caplog.records
    assert "too many changes wait" in record.message
