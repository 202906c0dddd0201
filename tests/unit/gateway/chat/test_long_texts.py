"""Texts as long as a body may be cost next to nothing: MQTT shares the interpreter's lock."""

import time
from collections.abc import Callable

import pytest

from gateway.chat.conversation import Conversation, Turn
from gateway.chat.text_only import text_answer
from gateway.chat.tokens import estimate
from gateway.filling.form import Form
from gateway.problems import Problem

_LENGTH = 16 << 20
_PIECES = ["a", ".", "a.b", "hello world. ", "You are. ", "\n", "title text: ", "please ", "ä☃"]


def cost_s(do: Callable[[], object]) -> float:
    """Seconds of computing; the least of three, because other work on the machine adds to each."""
    costs = []
    for _ in range(3):
        began = time.thread_time()
        do()
        costs.append(time.thread_time() - began)
    return min(costs)


@pytest.mark.parametrize("piece", _PIECES)
def test_prompt_of_a_whole_body_costs_little(piece: str) -> None:
    text = piece * (_LENGTH // len(piece))

    def answer() -> None:
        conversation = Conversation.of([Turn("user", text, ("picture",))])
        if conversation.text:
            with pytest.raises(Problem, match="has room for"):
                conversation.question()
        text_answer(conversation.text, "model")
        assert estimate(text) >= _LENGTH // 4 - 1

    assert cost_s(answer) < 0.15


@pytest.mark.parametrize("piece", _PIECES)
def test_system_prompt_of_a_whole_body_costs_little(piece: str) -> None:
    text = piece * (_LENGTH // len(piece))
    turns = [Turn("system", text), Turn("user", "Is it open?")]
    assert cost_s(lambda: Conversation.of(turns).question()) < 0.15


@pytest.mark.parametrize("piece", _PIECES)
def test_schema_of_a_whole_body_costs_little(piece: str) -> None:
    text = piece * (_LENGTH // len(piece))
    schema = {"type": "object", "properties": {"a": {"type": "string", "description": text}}}
    assert cost_s(lambda: Form.of(schema, text)) < 0.15
