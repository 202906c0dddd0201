"""What of a conversation counts, and what is asked of the model."""

import time
from typing import Any

import pytest

from gateway.chat.conversation import Conversation, Turn, caption_wanted, pick
from gateway.problems import Problem
from schemas.frame import MAX_TEXT_CHARACTERS, FrameOptions, Length


def conversation(text: str, *pictures: str, system: str = "") -> Conversation:
    return Conversation.of([Turn("system", system), Turn("user", text, pictures)])


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("", Length.NORMAL),
        ("  ?", Length.NORMAL),
        ("Describe this image.", Length.NORMAL),
        ("describe the picture", Length.NORMAL),
        ("Please describe this image in detail.", Length.LONG),
        ("Describe this image briefly", Length.SHORT),
        ("Write a short caption for this image.", Length.SHORT),
        ("Give me a detailed description of the scene", Length.LONG),
        ("What's in this image?", Length.NORMAL),
        ("What\u2019s in this image?", Length.NORMAL),
        ("What is in the photo?", Length.NORMAL),
        ("What do you see in this picture?", Length.NORMAL),
        ("Describe what you see in this image", Length.NORMAL),
        ("Describe the dog in this image", None),
        ("Describe this image in German", None),
        ("What is this?", None),
        ("Is there a dog?", None),
    ],
)
def test_only_what_wants_a_description_gets_the_caption(text: str, length: Length | None) -> None:
    assert caption_wanted(text) is length


def test_the_question_has_what_the_system_said_before_it() -> None:
    assert conversation("Is it open?", system="Be brief.").question() == {
        "tasks": [{"query": "Be brief.\n\nIs it open?"}]
    }
    assert conversation("Describe this image.", system="In German.").question() == {
        "tasks": [{"query": "In German.\n\nDescribe this image."}]
    }


@pytest.mark.parametrize(
    ("system", "kept"),
    [
        ("You are a helpful assistant.", ""),
        ("You are a guard. Name people, pets and cars (v1.5)!", "Name people, pets and cars "),
        (
            "Be brief.\nThe current time is 10:00:00. Answer in German.",
            "Be brief.\nAnswer in German.",
        ),
        ("Tell who you are.", "Tell who you are."),
        ("", ""),
    ],
)
def test_who_the_assistant_is_is_no_part_of_a_question(system: str, kept: str) -> None:
    assert conversation("Why?", system=system).system.startswith(kept)
    assert bool(conversation("Why?", system=system).system) is bool(kept)


def test_a_helpful_assistant_that_describes_gives_the_caption() -> None:
    asked = conversation("Describe this image.", system="You are a helpful assistant.")

    assert asked.question() == {"tasks": ["caption"], "length": "normal"}


@pytest.mark.parametrize(
    "system", ["." * 1_000_000, "a. " * 300_000, "a.b" * 300_000, "\n" * 10**6]
)
def test_hostile_instructions_take_no_time(system: str) -> None:
    began = time.perf_counter()
    conversation("Why?", system=system)

    assert time.perf_counter() - began < 2


def test_what_the_system_said_is_left_out_where_there_is_no_room() -> None:
    system = "x" * MAX_TEXT_CHARACTERS

    assert conversation("Is it open?", system=system).question() == {
        "tasks": [{"query": "Is it open?"}]
    }


def test_a_question_without_room_is_refused_with_a_sentence() -> None:
    with pytest.raises(Problem, match="this model has room for 2000") as caught:
        conversation("x" * (MAX_TEXT_CHARACTERS + 1)).question()

    assert (caught.value.code, caught.value.status) == ("prompt", 400)


@pytest.mark.parametrize("text", ["", "Why?", "Describe this image briefly"])
def test_the_fields_are_those_of_a_frame(text: str) -> None:
    FrameOptions.model_validate(conversation(text).question())


def test_the_newest_question_is_asked_about_the_newest_pictures() -> None:
    turns = [
        Turn("system", "Be brief."),
        Turn("user", "What is it?", ("first",)),
        Turn("user", "And here?", ("second", "third")),
        Turn("assistant", "A dog.", ("of no user",)),
        Turn("user", "Which colour?"),
    ]

    found = Conversation.of(turns[:3])
    assert (found.text, found.pictures) == ("And here?", ("second", "third"))
    assert Conversation.of([*turns[:3], turns[4]]).pictures == ("second", "third")
    assert Conversation.of(turns).text == "Which colour?"


def test_only_users_show_pictures() -> None:
    turns = [Turn("user", "What is it?", ("mine",)), Turn("assistant", "A dog.", ("its",))]

    assert Conversation.of(turns).pictures == ("mine",)


@pytest.mark.parametrize(
    ("which", "found"),
    [("first", ("a",)), ("middle", ("c",)), ("last", ("d",)), ("each", ("a", "b", "c", "d"))],
)
def test_which_of_several_is_meant(which: str, found: Any) -> None:
    assert pick(("a", "b", "c", "d"), which) == found
    assert pick(("a",), which) == ("a",)
