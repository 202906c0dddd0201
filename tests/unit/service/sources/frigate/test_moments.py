"""When something is described: once early, once at the end, never twice at once."""

from typing import Any

import pytest

from schemas.frigate import Severity, Subject
from service.sources.frigate.moments import (
    LONGEST_S,
    SETTLE_S,
    UPDATE_EVERY_S,
    Followed,
    Policy,
    Step,
    step,
)

NOW = 1000.0
POLICY = Policy(lambda subject: subject.label != "cat")
UPDATES = Policy(lambda _: True, updates=True)


def subject(**said: Any) -> Subject:
    return Subject(id="1", camera="yard", **{"label": "person", **said})


def followed(about: Subject | None = None, **known: Any) -> Followed:
    values = {"first_heard": NOW, "heard": NOW, **known}
    return Followed(subject() if about is None else about, **values)


ALERT = subject(severity=Severity.ALERT)


@pytest.mark.parametrize(
    ("each", "expected"),
    [
        (followed(), Step.NOTHING),
        (followed(ALERT), Step.EARLY),
        (followed(ALERT, num_described=1), Step.NOTHING),
        (followed(ALERT, is_early_given_up=True), Step.NOTHING),
        (followed(ALERT, is_busy=True), Step.NOTHING),
        (followed(ALERT, not_before=NOW + 1), Step.NOTHING),
        (followed(ALERT, waiting_key="yard/1"), Step.NOTHING),
        (followed(subject(severity=Severity.ALERT, is_false_positive=True)), Step.NOTHING),
        (followed(subject(severity=Severity.ALERT, label="cat")), Step.NOTHING),
        (followed(ended=NOW), Step.NOTHING),
        (followed(ended=NOW - SETTLE_S), Step.FINAL),
        (followed(ALERT, ended=NOW - SETTLE_S, num_described=1), Step.FINAL),
        (followed(ended=NOW - SETTLE_S, waiting_key="yard/1"), Step.FINAL),
        (followed(ended=NOW - SETTLE_S, is_busy=True), Step.NOTHING),
        (followed(ended=NOW - SETTLE_S, is_done=True), Step.NOTHING),
        (followed(subject(label="cat"), ended=NOW), Step.LET_GO),
        (followed(subject(is_false_positive=True), ended=NOW), Step.LET_GO),
        (followed(first_heard=NOW - LONGEST_S), Step.LET_GO),
    ],
)
def test_step(each: Followed, expected: Step) -> None:
    assert step(each, POLICY, NOW) is expected


def test_step_without_early_waits_for_the_end() -> None:
    assert step(followed(ALERT), Policy(lambda _: True, early=False), NOW) is Step.NOTHING


def test_step_update_only_where_something_has_changed_and_time_has_passed() -> None:
    each = followed(subject(frame_time=1.0))
    assert step(each, UPDATES, NOW) is Step.UPDATE
    each.described, each.described_at, each.num_described = each.subject, NOW, 1
    later = NOW + UPDATE_EVERY_S
    assert step(each, UPDATES, later) is Step.NOTHING
    each.hear(subject(frame_time=2.0), NOW)
    assert step(each, UPDATES, later - 0.1) is Step.NOTHING
    assert step(each, UPDATES, later) is Step.UPDATE
    each.waiting_key = "yard/1"
    assert step(each, UPDATES, later) is Step.NOTHING


def test_hear_end_once_and_nothing_after_it() -> None:
    each = followed(subject(severity=Severity.ALERT, score=0.9, zones=("porch",)))
    each.num_failures, each.not_before = 3, NOW + 60
    each.hear(subject(is_ended=True), NOW + 1)
    assert each.ended == NOW + 1
    assert (each.num_failures, each.not_before) == (0, 0.0)
    assert each.subject == subject(
        is_ended=True, severity=Severity.ALERT, score=0.9, zones=("porch",)
    )
    each.hear(subject(label="late"), NOW + 2)
    each.hear(subject(is_ended=True), NOW + 3)
    assert (each.ended, each.subject.label) == (NOW + 1, "person")
