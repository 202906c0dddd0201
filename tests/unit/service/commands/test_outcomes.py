"""What becomes of frames that were sent; with a real broker in `test_publish_command.py`."""

from pathlib import Path
from typing import Any

import pytest

from schemas.job import JobStatus
from schemas.status import StatusDocument
from service.commands.display import Display
from service.commands.outcomes import Outcomes
from tests.support.factories import NOON
from tests.unit.service.commands.test_view import make_result


def outcomes_of(*names: str) -> Outcomes:
    frames = {name: Path(f"{name}.jpg") for name in names}
    outcomes = Outcomes(frames, Display(len(frames)))
    for _ in names:
        outcomes.sent()
    return outcomes


def is_over(outcomes: Outcomes) -> bool:
    """A call, because a checker of types takes a property for what it was a line before."""
    return outcomes.is_complete


def status(job_id: str, is_now: JobStatus, message: str) -> StatusDocument:
    words: dict[str, Any] = {"status": is_now, "message": message, "timestamp": NOON}
    return StatusDocument(job_id=job_id, camera_id="front", **words)


def duplicate(job_id: str, other: str) -> StatusDocument:
    return status(job_id, JobStatus.DUPLICATE, f"The same picture as {other}")


def test_repeat_of_what_fails_fails_with_its_reason() -> None:
    outcomes = outcomes_of("a")
    assert outcomes.feed_status(duplicate("a", "other")) == "other"
    assert not is_over(outcomes)
    outcomes.feed_status(status("other", JobStatus.FAILED, "The engine died"))
    assert is_over(outcomes)
    assert outcomes.problems(1) == "a.jpg: as other, failed: The engine died"


def test_repeat_of_a_frame_that_nobody_tells_of_has_its_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    outcomes = outcomes_of("a")
    outcomes.feed_status(duplicate("a", "other"))
    outcomes.give_up_caption("other")
    assert is_over(outcomes)
    assert outcomes.problems(1) == ""
    assert capsys.readouterr().err == "a.jpg: The same picture as other\n"


def test_repeat_of_one_of_ours_is_not_given_up(capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = outcomes_of("a", "b")
    assert outcomes.feed_status(duplicate("b", "a")) == "a"
    outcomes.give_up_caption("a")
    assert not is_over(outcomes)
    outcomes.feed_result(make_result("A dog.", job_id="a"))
    assert is_over(outcomes)
    assert capsys.readouterr().out == "a.jpg: A dog.\nb.jpg: A dog.\n"
    assert outcomes.summary() == "2 sent, 1 captioned, 1 duplicate"


def test_frame_like_another_has_its_caption(capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = outcomes_of("a")
    outcomes.feed_result(make_result("A dog.", job_id="other"))
    message = "Looks like the frame of other (98% alike)"
    assert outcomes.feed_status(status("a", JobStatus.DUPLICATE, message)) is None
    assert capsys.readouterr().out == "A dog.\n"


def test_duplicate_without_a_name_has_its_end() -> None:
    outcomes = outcomes_of("a")
    assert outcomes.feed_status(status("a", JobStatus.DUPLICATE, "Seen before")) is None
    assert is_over(outcomes)


def test_what_is_said_of_others_is_passed_over() -> None:
    outcomes = outcomes_of("a")
    outcomes.feed_result(make_result("A dog.", job_id="other"))
    outcomes.feed_status(status("other", JobStatus.FAILED, "The engine died"))
    assert not is_over(outcomes)
    assert "the service says nothing of it" in outcomes.problems(1)


def test_many_failures_name_some() -> None:
    names = [f"frame{number}" for number in range(9)]
    outcomes = outcomes_of(*names)
    for name in names[:7]:
        outcomes.feed_status(status(name, JobStatus.FAILED, "no"))
    said = outcomes.problems(1)
    assert "and 2 more" in said
    assert "no caption within 1 s for frame7.jpg, frame8.jpg;" in said


def test_message_of_the_service_cannot_command_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    outcomes = outcomes_of("a")
    outcomes.feed_status(status("a", JobStatus.QUEUED, "\x1b[2JWaiting\n"))
    outcomes.feed_result(make_result("A\x1b[2J dog.", job_id="a"))
    shown = capsys.readouterr()
    assert (shown.err, shown.out) == (" [2JWaiting\n", "A [2J dog.\n")
