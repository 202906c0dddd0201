"""What is described at all."""

from typing import Any

import pytest

from schemas.frigate import Severity, Subject
from service.frigate_settings import FrigateSettings
from service.sources.frigate.filters import filter_of

SAID: dict[str, Any] = {
    "label": "person",
    "sub_label": "Ada",
    "zones": ("porch",),
    "score": 0.7,
    "severity": Severity.DETECTION,
}


@pytest.mark.parametrize(
    ("wanted", "passes"),
    [
        ({}, True),
        ({"labels": ["Person"]}, True),
        ({"labels": ["ada"]}, True),
        ({"labels": ["car"]}, False),
        ({"zones": ["yard", "porch"]}, True),
        ({"zones": ["yard"]}, False),
        ({"min_score": 0.7}, True),
        ({"min_score": 0.71}, False),
        ({"min_severity": "detection"}, True),
        ({"min_severity": "alert"}, False),
        ({"labels": ["car"], "cameras": {"yard": {"labels": []}}}, True),
        ({"min_severity": "alert", "cameras": {"yard": {"min_severity": "any"}}}, True),
        ({"cameras": {"yard": {"enabled": False}}}, False),
        ({"cameras": {"street": {"enabled": False}}}, True),
    ],
)
def test_filter(wanted: dict[str, Any], passes: bool) -> None:
    settings = FrigateSettings.model_validate(wanted)
    subject = Subject(id="1", camera="yard", **SAID)
    assert filter_of(settings, "yard").passes(subject) is passes


def test_filter_of_what_is_not_known_lets_the_score_pass_and_not_the_severity() -> None:
    subject = Subject(id="1", camera="yard")
    assert filter_of(FrigateSettings(min_score=0.9), "yard").passes(subject)
    assert not filter_of(FrigateSettings(min_severity="detection"), "yard").passes(subject)
