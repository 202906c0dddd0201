import hashlib
import json
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import protocol
from engine.protocol import (
    Box,
    BoxesAnswer,
    Cancel,
    ChoiceAnswer,
    Done,
    LastFrame,
    Message,
    Piece,
    Point,
    PointsAnswer,
    Ready,
    Started,
    Submit,
    TaskSpec,
    TextAnswer,
)

#: What `protocol.VERSION` stands for. A message that changes needs a new number, so that a service
#: and an engine that do not understand each other say so.
FORMS = (6, "47f96e6fc65116e8")

st.register_type_strategy(float, st.floats(allow_nan=False))  # NaN equals nothing
MESSAGES: tuple[type[Any], ...] = get_args(Message)

FULL: list[Message] = [
    Submit(
        "job",
        "front",
        (1.0, 2.5),
        (TaskSpec("query", "wo?"), TaskSpec("choose", "wer?", ("ä", "b"))),
        seed=7,
        last_frame=LastFrame("other", b"\1\xff", 2.5, 3),
        body=b"\0\xff",
    ),
    Started("job", b"\1\xff"),
    Piece("job", "ä \n"),
    Done(
        "job",
        (
            TextAnswer("ä", (1, 2), 0.5),
            BoxesAnswer((Box(0.0, 0.1, 0.2, 1.3),), 0.5),
            PointsAnswer((Point(0.5, 0.5),), 0.5),
            ChoiceAnswer((0.25, 0.75)),
        ),
        1.0,
        {"prepare": 0.1},
        b"jpeg",
    ),
]


def through_the_wire(message: Message) -> Message:
    data = protocol.encode(message)
    header, body = protocol.lengths(data[: protocol.PREAMBLE_BYTES])
    rest = data[protocol.PREAMBLE_BYTES :]
    assert len(rest) == header + body
    return protocol.decode(rest[:header], rest[header:])


@pytest.mark.parametrize("message", FULL, ids=lambda message: type(message).__name__)
def test_full_message_arrives_as_it_was_sent(message: Message) -> None:
    assert through_the_wire(message) == message


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_any_message_arrives_as_it_was_sent(kind: type[Any], data: st.DataObject) -> None:
    message = data.draw(st.from_type(kind))
    assert through_the_wire(message) == message


@given(st.binary(max_size=100), st.binary(max_size=10))
def test_garbage_is_a_value_error(header: bytes, body: bytes) -> None:
    with pytest.raises(ValueError):
        protocol.decode(header, body)


@given(st.data())
def test_damaged_header_is_read_or_a_value_error(data: st.DataObject) -> None:
    sent = protocol.encode(data.draw(st.sampled_from(FULL)))
    num_bytes, _ = protocol.lengths(sent[: protocol.PREAMBLE_BYTES])
    header = bytearray(sent[protocol.PREAMBLE_BYTES :][:num_bytes])
    for _ in range(data.draw(st.integers(1, 3))):
        header[data.draw(st.integers(0, len(header) - 1))] = data.draw(st.integers(0, 255))
    try:
        protocol.decode(bytes(header), b"")
    except ValueError:
        return


@pytest.mark.parametrize(
    ("header", "named"),
    [
        ('["Capacity",{"capacity":null,"message":"none"}]', r"Capacity\.capacity"),
        ('["Capacity",{"capacity":1}]', "message is missing"),
        ('["Cancel",{"key":"a","why":"b"}]', "'why' is unknown"),
        ('["Nobody",{}]', "'Nobody' is unknown"),
    ],
)
def test_what_is_wrong_with_a_message_is_named(header: str, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        protocol.decode(header.encode(), b"")


def test_body_behind_a_message_that_has_none_is_refused() -> None:
    header = protocol.encode(Cancel("job"))[protocol.PREAMBLE_BYTES :]
    with pytest.raises(ValueError, match="no body"):
        protocol.decode(header, b"x")


def test_value_of_a_wrong_type_is_refused_before_it_leaves() -> None:
    with pytest.raises(ValueError, match=r"Ready\.capacity"):
        protocol.encode(Ready("m", "r", "cpu", "f", "many", 0, 0, 0))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "preamble", [b"\xff" * 8, b"\0\0\0\1\xff\xff\xff\xff", b"\0\0\0", b""], ids=repr
)
def test_lengths_out_of_step_are_refused(preamble: bytes) -> None:
    with pytest.raises(ValueError, match="the stream"):
        protocol.lengths(preamble)


def test_message_that_changed_has_a_new_version() -> None:
    forms = json.dumps(_forms(Message), sort_keys=True)
    digest = hashlib.sha256(forms.encode()).hexdigest()[:16]
    assert (protocol.VERSION, digest) == FORMS, "raise protocol.VERSION and record it here"


def _forms(hint: Any) -> dict[str, dict[str, str]]:
    """Names and types of the fields of every dataclass that a type can hold."""
    found = {}
    if isinstance(hint, type) and is_dataclass(hint):
        hints = get_type_hints(hint)
        found[hint.__name__] = {each.name: _name(hints[each.name]) for each in fields(hint)}
        for each in hints.values():
            found.update(_forms(each))
    for argument in get_args(hint):
        found.update(_forms(argument))
    return found


def _name(hint: Any) -> str:
    """The same in every version of Python."""
    if not (arguments := get_args(hint)):
        return getattr(hint, "__name__", repr(hint))
    origin = get_origin(hint)
    kind = "union" if origin in {Union, UnionType} else getattr(origin, "__name__", "literal")
    return f"{kind}[{', '.join(map(_name, arguments))}]"


def test_hello_keeps_its_form() -> None:
    """Every version must understand it, or nobody can be told what is wrong."""
    assert protocol.encode(protocol.Hello(7))[protocol.PREAMBLE_BYTES :] == (
        b'["Hello", {"version": 7}]'
    )
