"""Which sources would never be used, and which listen to the service itself."""

from typing import Any

import pytest

from service.settings import Settings
from service.sources.overlaps import doubts

TRIGGER = {"topic": "cams/{camera}/motion", "url": "http://127.0.0.1/{camera}.jpg"}


def said(*topics: str, **content: Any) -> list[tuple[str, str]]:
    sources = [
        {"topic": topic} if "{camera}" in topic else {"topic": topic, "camera": "door"}
        for topic in topics
    ]
    return list(doubts(Settings.model_validate({"sources": sources, **content})))


@pytest.mark.parametrize(
    "topics",
    [
        ("ring/+/camera/{camera}/snapshot", "neolink/{camera}/preview"),
        ("cams/door/{camera}", "cams/+/{camera}"),  # an exception, and then the rule
        ("other/{camera}/caption",),
    ],
)
def test_sources_that_do_not_meet_are_well(topics: tuple[str, ...]) -> None:
    assert said(*topics) == []


def test_pattern_that_takes_in_our_own_words_is_told() -> None:
    [(path, text)] = said("+/{camera}/+")
    assert path == "sources.0.topic"
    assert text.startswith("it takes in what the service itself publishes below moondream2mqtt")


def test_trigger_that_listens_to_the_service_is_told() -> None:
    trigger = {**TRIGGER, "topic": "moondream2mqtt/{camera}/status"}
    assert [path for path, _ in said(triggers=[trigger])] == ["triggers.0.topic"]


def test_source_behind_a_wider_one_is_told_of_it() -> None:
    [(path, text)] = said("cams/#", "cams/door/{camera}")
    assert (path, text.startswith("all of it is read by sources.0")) == ("sources.1.topic", True)


def test_sources_that_cross_are_told_of_each_other() -> None:
    [(path, text)] = said("cams/+/{camera}/a", "cams/x/{camera}/+")
    assert path == "sources.1.topic"
    assert text.startswith("some of its topics are read by sources.0")


def test_frigates_snapshots_are_not_needed_beside_frigate() -> None:
    topic = "frigate/{camera}/person/snapshot"
    assert said(topic) == []
    [(_, text)] = said(topic, frigate={"enabled": True})
    assert text.startswith("all of it is read by frigate")
    [(_, text)] = said(topic, frigate={"enabled": True, "url": "http://frigate:5000"})
    assert "captioned twice" in text
