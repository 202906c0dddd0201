import time

import pytest

from gateway.chat.conversation import instructions


@pytest.mark.parametrize(
    ("system", "kept"),
    [
        ("", ""),
        ("Answer in one word.", "Answer in one word."),
        (
            "You are a Home Assistant expert and help users with their tasks.\n"
            "Current time is 05:57:31. Today's date is 2026-11-22.\n",
            "",
        ),
        (
            "You are a voice assistant for Home Assistant.\n"
            "Answer in plain text. Keep it simple and to the point.",
            "Answer in plain text. Keep it simple and to the point.",
        ),
        ("Version 1.8 is old. You're version 2.0 now! Be brief", "Version 1.8 is old. Be brief"),
        ("...\n\n?!", "...\n\n?!"),
    ],
)
def test_who_it_is_and_the_time_are_left_out(system: str, kept: str) -> None:
    assert instructions(system) == kept


@pytest.mark.parametrize("piece", ["a", ".", "a.", ". ", "\n", "You are. "])
def test_long_prompts_cost_little(piece: str) -> None:
    began = time.process_time()
    instructions(piece * 50_000)
    assert time.process_time() - began < 1
