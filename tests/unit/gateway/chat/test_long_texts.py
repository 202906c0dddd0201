"""Texts as long as a body may be cost next to nothing: MQTT shares the interpreter's lock."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gateway.chat.conversation import Conversation, Turn
from gateway.chat.text_only import text_answer
from gateway.chat.tokens import estimate
from gateway.filling.form import Form
from gateway.problems import Problem

_LENGTH = 16 << 20
_PIECES = ["a", ".", "a.b", "hello world. ", "You are. ", "\n", "title text: ", "please ", "ä☃"]


@contextmanager
def quickly() -> Iterator[None]:
    began = time.thread_time()
    yield
    assert time.thread_time() - began < 0.15


@pytest.mark.parametrize("piece", _PIECES)
def test_prompt_of_a_whole_body_costs_little(piece: str) -> None:
    text = piece * (_LENGTH // len(piece))
    with quickly():
        conversation = Conversation.of([Turn("user", text, ("picture",))])
        if conversation.text:
            with pytest.raises(Problem, match="has room for"):
                conversation.question()
        text_answer(conversation.text, "model")
        assert estimate(text) >= _LENGTH // 4 - 1


@pytest.mark.parametrize("piece", _PIECES)
def test_system_prompt_of_a_whole_body_costs_little(piece: str) -> None:
    text = piece * (_LENGTH // len(piece))
    with quickly():
        Conversation.of([Turn("system", text), Turn("user", "Is it open?")]).question()


@pytest.mark.parametrize("piece", _PIECES)
def test_schema_of_a_whole_body_costs_little(piece: str) -> None:
    text = piece * (_LENGTH // len(piece))
    schema = {"type": "object", "properties": {"a": {"type": "string", "description": text}}}
    with quickly():
        Form.of(schema, text)
