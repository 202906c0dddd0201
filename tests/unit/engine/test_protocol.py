import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import protocol
from engine.protocol import (
    Alive,
    Cancel,
    Cancelled,
    Capacity,
    Done,
    Failed,
    LoadFailed,
    Loading,
    Message,
    Ready,
    Similar,
    Started,
    Submit,
    TaskSpec,
)

MESSAGES: list[Message] = [
    Submit("job", "front", (1.0, 2.5), (TaskSpec("query", "wo?"),), seed=7, body=b"\0\xff"),
    Cancel("job"),
    Loading("12 %"),
    Ready("name", "local", "cpu", "float32", 3, 1.5, 0.0, 100.0),
    LoadFailed("model_file", "broken", can_retry=True),
    Capacity(2, "short of memory"),
    Started("job"),
    Similar("job", "other", 0.99),
    Done("job", ({"text": "ä", "confidence": 0.5},), 1.0, {"prepare": 0.1}, b"jpeg"),
    Failed("job", "prompt", "too long", can_retry=False),
    Cancelled("job"),
    Alive(1, 2, 3.0, 4.0),
]


def through_the_wire(message: Message) -> Message:
    data = protocol.encode(message)
    header, body = protocol.lengths(data[: protocol.PREAMBLE_BYTES])
    rest = data[protocol.PREAMBLE_BYTES :]
    assert len(rest) == header + body
    return protocol.decode(rest[:header], rest[header:])


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_message_arrives_as_it_was_sent(message: Message) -> None:
    assert through_the_wire(message) == message


@given(st.text(), st.binary(max_size=1000))
def test_any_text_and_body_arrive_as_sent(text: str, body: bytes) -> None:
    message = Submit("job", "front", (0.0,), (TaskSpec("query", text),), body=body)
    assert through_the_wire(message) == message


@pytest.mark.parametrize("preamble", [b"\xff" * 8, b"\0\0\0\1\xff\xff\xff\xff"])
def test_lengths_out_of_step_are_refused(preamble: bytes) -> None:
    with pytest.raises(ValueError, match="out of step"):
        protocol.lengths(preamble)
