"""Which of several pictures Ollama's callers are answered about."""

import json
from dataclasses import replace
from typing import Any

import httpx
import pytest

from gateway.app import make_app
from gateway.backend import Frame
from gateway.problems import Problem
from schemas.result import Answer, ResultDocument
from tests.support.results import result_document
from tests.unit.gateway.test_broken_streams import OPTIONS, Model


class Asker:
    """Says which picture it was given, and what was asked."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []

    async def ask(self, _request: Any, frame: Frame, _timeout_s: float) -> ResultDocument:
        self.frames.append(frame)
        if frame.image == b"bad":
            raise Problem("not_an_image", "not a picture")
        image = (frame.image or b"").decode()
        answers = tuple(
            Answer(question=task["query"], answer=image, confidence=1.0)
            for task in frame.fields["tasks"]
            if isinstance(task, dict) and "query" in task
        )
        caption = "" if answers else image
        return result_document(caption, short_caption="", answers=answers, processing_time=0.5)


async def post(path: str, body: dict[str, Any], images: str = "middle") -> tuple[Any, Asker]:
    """The answer, and what was asked for it."""
    backend: Any = Model()
    app = make_app(backend, replace(OPTIONS, images=images))
    app.state.asker = asker = Asker()
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        answer = await client.post(path, json={"stream": False, **body})
    return answer, asker


@pytest.mark.parametrize(
    ("images", "text"),
    [("first", "a"), ("middle", "b"), ("last", "c"), ("each", "a\nb\nc")],
)
async def test_one_of_several_is_looked_at_or_each(images: str, text: str) -> None:
    body = {"prompt": "Why?", "images": ["a", "b", "c"]}

    answer, asker = await post("/api/generate", body, images)

    said = answer.json()
    assert said["response"] == text
    assert said["eval_duration"] == len(asker.frames) * 500_000_000
    assert all(frame.fields["tasks"] == [{"query": "Why?"}] for frame in asker.frames)


async def test_each_is_a_stream_too() -> None:
    body = {"prompt": "Why?", "images": ["a", "b"], "stream": True}

    answer, _ = await post("/api/generate", body, "each")

    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert "".join(line["response"] for line in lines) == "a\nb"
    assert lines[-1]["done"] is True


async def test_one_that_is_bad_is_no_half_answer() -> None:
    answer, _ = await post("/api/generate", {"prompt": "?", "images": ["a", "bad"]}, "each")

    assert (answer.status_code, answer.json()) == (415, {"error": "not a picture"})


async def test_a_schema_is_filled_for_one() -> None:
    schema = {"type": "object", "properties": {"colour": {"type": "string"}}}
    body = {"prompt": "Look.", "images": ["a", "b", "c"], "format": schema}

    answer, asker = await post("/api/generate", body, "each")

    assert json.loads(answer.json()["response"]).keys() <= {"colour"}
    assert [frame.image for frame in asker.frames] == [b"b"]


async def test_a_question_goes_to_the_newest_pictures() -> None:
    messages = [
        {"role": "user", "content": "What is here?", "images": ["old"]},
        {"role": "assistant", "content": "A dog."},
        {"role": "user", "content": "And here?", "images": ["new"]},
        {"role": "assistant", "content": "A cat."},
        {"role": "user", "content": "Which colour?"},
    ]

    answer, asker = await post("/api/chat", {"messages": messages, "images": ["beside"]})

    assert answer.json()["message"] == {"role": "assistant", "content": "new"}
    assert asker.frames[0].fields["tasks"] == [{"query": "Which colour?"}]


async def test_a_picture_without_a_word_gets_a_caption() -> None:
    answer, asker = await post("/api/generate", {"images": ["a"]})

    assert answer.json()["response"] == "a"
    assert asker.frames[0].fields["tasks"] == ["caption"]


@pytest.mark.parametrize(
    ("text", "task"),
    [("Describe this image.", "caption"), ("How many cars?", {"query": "How many cars?"})],
)
async def test_what_home_assistant_tells_every_model_is_no_part_of_the_question(
    text: str, task: Any
) -> None:
    system = (
        "You are a Home Assistant expert and help users with their tasks.\n"
        "Current time is 05:57:31. Today's date is 2026-11-22.\n"
    )
    messages = [
        {"role": "system", "content": system},
        {"role": "user", "content": text, "images": ["a"]},
    ]

    _, asker = await post("/api/chat", {"messages": messages})

    assert asker.frames[0].fields["tasks"] == [task]
