"""Tasks: those of the wire, those of our own records, and none at all."""

import json
from typing import Any

from tests.hostile.case import COMPLETED, PLAIN, Cases, as_json, case, rejected
from tests.hostile.wire import user_property

_ACCEPTED: dict[str, Any] = {
    "caption": ["caption"],
    "question": [{"query": "Is it raining?"}],
    "detection": [{"detect": "person"}],
    "points": [{"point": "face"}],
    "one of each": ["caption", {"query": "Why?"}, {"detect": "dog"}, {"point": "nose"}],
    "the same thing sixteen times": ["caption"] * 16,
    "longest question": [{"query": "x" * 2000}],
    "question in blanks": [{"query": "  Is it?  "}],
    "question in another script": [{"query": "雨が降っていますか"}],
    "question with a line end": [{"query": "Is it?\n\nAnswer: yes"}],
    "choice": [{"choose": {"question": "Is it?", "choices": ["yes", "no"]}}],
    "choice in another script": [{"choose": {"question": "雨?", "choices": ["はい", "いいえ"]}}],
    "choice of special tokens": [
        {"choose": {"question": "<|endoftext|>", "choices": ["<|coord|>", "\x00", "<|endoftext|>"]}}
    ],
    "most and longest choices, sixteen times": [
        {"choose": {"question": "Which?", "choices": [f"{i:🐈<64}" for i in range(16)]}}
    ]
    * 16,
    "special tokens": [{"query": "<|endoftext|><image>\x00"}],
}

_REFUSED: dict[str, Any] = {
    "no list": "caption",
    "an object": {"query": "Is it?"},
    "a number": 5,
    "empty list": [],
    "seventeen": ["caption"] * 17,
    "null": [None],
    "number in it": [5],
    "list in it": [["caption"]],
    "empty object": [{}],
    "kind without text": ["query"],
    "in capitals": ["Caption"],
    "caption with text": [{"caption": "x"}],
    "empty question": [{"query": ""}],
    "blank question": [{"query": " \t\n"}],
    "question is a number": [{"query": 5}],
    "question is null": [{"query": None}],
    "question is a list": [{"query": ["Is it?"]}],
    "choice without choices": [{"choose": {"question": "Is it?"}}],
    "choice without a question": [{"choose": {"choices": ["yes", "no"]}}],
    "choice is a text": [{"choose": "Is it?"}],
    "choices are a text": [{"choose": {"question": "Is it?", "choices": "yes"}}],
    "choices are an object": [{"choose": {"question": "Is it?", "choices": {"a": 1, "b": 2}}}],
    "one choice": [{"choose": {"question": "Is it?", "choices": ["yes"]}}],
    "seventeen choices": [
        {"choose": {"question": "Which?", "choices": [str(i) for i in range(17)]}}
    ],
    "equal choices": [{"choose": {"question": "Is it?", "choices": ["yes", "yes "]}}],
    "empty choice": [{"choose": {"question": "Is it?", "choices": ["yes", ""]}}],
    "choice too long": [{"choose": {"question": "Is it?", "choices": ["yes", "x" * 65]}}],
    "choice is a number": [{"choose": {"question": "Is it?", "choices": ["yes", 5]}}],
    "choice is a list": [{"choose": {"question": "Is it?", "choices": ["yes", ["no"]]}}],
    "choice with more": [{"choose": {"question": "Is it?", "choices": ["a", "b"], "most": 1}}],
    "two in one": [{"query": "Is it?", "detect": "dog"}],
    "question too long": [{"query": "x" * 2001}],
    "unknown": [{"paint": "it"}],
    "capital key": [{"Query": "Is it?"}],
    "one good, one bad": ["caption", {"query": ""}],
    # How a task stands in our own records: no form of the wire.
    "own form, no text": [{"kind": "detect"}],
    "own form, empty text": [{"kind": "query", "text": ""}],
    "own form, blank text": [{"kind": "point", "text": " "}],
    "own form": [{"kind": "query", "text": "Is it?"}],
    "own form of a caption": [{"kind": "caption"}],
    "own form of a caption with text": [{"kind": "caption", "text": "x"}],
    "own form with more": [{"kind": "query", "text": "x", "more": 1}],
    "own form, kind is a list": [{"kind": []}],
    "own form, unknown": [{"kind": "paint", "text": "it"}],
    "own form of a class": [{"kind": {"__class__": "Task"}, "text": "x"}],
}


def cases() -> Cases:
    for name, tasks in _ACCEPTED.items():
        has_words = any("query" in task or "caption" in task for task in tasks)
        image = PLAIN if has_words else None  # else the caption counts what was found
        yield case(name, as_json(tasks=tasks), COMPLETED, image=image)
    for name, tasks in _REFUSED.items():
        yield case(name, as_json(tasks=tasks), rejected("bad_field"))
        yield case(
            f"{name}, as a property",
            PLAIN,
            rejected("bad_field"),
            properties=user_property("tasks", json.dumps(tasks)),
        )
