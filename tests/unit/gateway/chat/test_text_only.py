"""What is answered where there is no picture."""

import time

import pytest

from gateway.chat.text_only import text_answer, title_of
from gateway.chat.tokens import estimate

MODEL = "vikhyatk/moondream2"


@pytest.mark.parametrize("text", ["Hi", "hello!", "", "Test", "Good morning"])
def test_a_greeting_is_answered_with_the_models_name(text: str) -> None:
    assert text_answer(text, MODEL).startswith(f"Hello! I am {MODEL}")


def test_anything_else_is_told_what_is_missing() -> None:
    answer = text_answer("Which is the highest mountain of Austria, and why?", MODEL)

    assert MODEL in answer
    assert "pictures" in answer
    assert "highest mountain" in answer


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("A man in a red coat walks to the door and rings.", "A man in a red coat"),
        ("The image shows a dog. It sleeps.", "A dog"),
        ("There are two cars in the driveway at night.", "Two cars in the driveway"),
        ("In this picture, there is rain", "There is rain"),
        ('"Somebody waits!"', "Somebody waits"),
        ("ein Mann geht über die Straße zum Haus", "Ein Mann geht über die Straße"),
        ("", "Event detected"),
        (" . ", "Event detected"),
        ("x" * 500, "X" + "x" * 59),
    ],
)
def test_a_title_is_a_few_words(text: str, title: str) -> None:
    assert title_of(text) == title


def test_a_title_is_made_of_the_text_behind_the_order() -> None:
    order = (
        "Generate a clear event title (<6 words) from the description. Use format: <Object> seen "
        "at <location>. Create a title for this text: A cat sits on the wall: it is grey."
    )

    assert text_answer(order, MODEL) == "A cat sits on the wall"


def test_a_report_lists_what_the_events_say() -> None:
    events = [
        {"title": "Person at the door", "camera": "front", "time": "09:00", "scene": "x"},
        {"title": "Stranger's car", "potential_threat_level": 2, "context": [{"title": "no"}]},
        {"scene": "A dog runs over the lawn of the neighbours."},
    ]
    text = "You write a concise security report.\n\nTime range: noon to noon\n\nEvents:\n"

    answer = text_answer(text + "\n".join(map(str, events)), MODEL)

    assert answer.splitlines() == [
        "# Security Summary - noon to noon",
        "",
        "## Timeline",
        "",
        "- **09:00 | front**: Person at the door",
        "- Stranger's car (needs review)",
        "- A dog runs over the lawn",
        "",
        "## Summary",
        "",
        "3 events. 1 of them to be reviewed.",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "title " * 100_000,
        "title of the text " * 50_000 + ":",
        "summary\n" + "{'title': '" + "\\'" * 200_000,
        "summary\n" + "{'title': 'a'}\n" * 20_000,
        "Describe " * 100_000,
        "." * 1_000_000,
    ],
)
def test_hostile_texts_take_no_time(text: str) -> None:
    began = time.perf_counter()

    assert text_answer(text, MODEL)
    assert time.perf_counter() - began < 0.5


def test_tokens_are_estimated() -> None:
    assert estimate("") == 0
    assert estimate("a") == 1
    assert 8 <= estimate("There are two cars in the driveway.") <= 10
    assert estimate("猫が二匹") == 4
