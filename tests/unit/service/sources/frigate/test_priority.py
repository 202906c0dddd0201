"""The table of priorities."""

from typing import Any

import pytest

from schemas.frame import Priority
from schemas.frigate import Severity, Subject
from service.sources.frigate.priority import priority_of

ALERT, DETECTION = Severity.ALERT, Severity.DETECTION


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"severity": ALERT}, Priority.CRITICAL),
        ({"severity": ALERT, "score": 0.3}, Priority.CRITICAL),
        ({"severity": ALERT, "is_stationary": True}, Priority.HIGH),
        ({"severity": ALERT, "is_false_positive": True}, Priority.LOW),
        ({"severity": DETECTION, "label": "person"}, Priority.HIGH),
        ({"severity": DETECTION, "label": "person", "zones": ("porch",)}, Priority.HIGH),
        ({"severity": DETECTION, "label": "cat"}, Priority.NORMAL),
        ({"severity": DETECTION, "label": "cat", "zones": ("porch",)}, Priority.HIGH),
        ({"severity": DETECTION, "label": "cat", "score": 0.5}, Priority.LOW),
        ({"label": "car"}, Priority.NORMAL),
        ({"label": "car", "is_stationary": True}, Priority.LOW),
        ({"label": "car", "is_stationary": True, "score": 0.2}, Priority.LOW),
        ({"label": "Person", "is_stationary": True}, Priority.NORMAL),
        ({}, Priority.NORMAL),
    ],
)
def test_priority(said: dict[str, Any], expected: Priority) -> None:
    assert priority_of(Subject(id="1", camera="yard", **said)) is expected


def test_priority_of_an_alert_that_was_told_is_no_news() -> None:
    alert = Subject(id="1", camera="yard", severity=ALERT)
    assert priority_of(alert, is_told=True) is Priority.HIGH


def test_priority_of_what_is_old_is_low() -> None:
    alert = Subject(id="1", camera="yard", severity=ALERT)
    assert priority_of(alert, is_old=True) is Priority.LOW
