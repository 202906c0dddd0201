"""What Frigate says is read whatever shape it has, and nothing it says is refused but nonsense."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.frigate import (
    Severity,
    Subject,
    read_event,
    read_review,
    read_stored_event,
    relative_box,
)
from tests.support.frigate_messages import (
    EVENT_ID,
    REVIEW_ID,
    event_message,
    review_message,
    stored_event,
    tracked_object,
)


def test_event_is_read() -> None:
    message = event_message(sub_label=["Ada", 0.9], max_severity="alert")
    assert read_event(message) == Subject(
        id=EVENT_ID,
        camera="front_door",
        label="person",
        sub_label="Ada",
        zones=("porch",),
        score=0.85,
        severity=Severity.ALERT,
        started=1700000000.1,
        frame_time=1700000004.0,
        box=(320, 180, 640, 540),
    )


def test_event_of_which_nothing_but_its_name_is_said_is_read() -> None:
    subject = read_event({"type": "new", "after": {"id": EVENT_ID, "camera": "yard"}})
    assert subject == Subject(id=EVENT_ID, camera="yard")


def test_review_is_read() -> None:
    subject = read_review(review_message("end"))
    assert (subject.id, subject.kind, subject.label) == (REVIEW_ID, "review", "person")
    assert (subject.sub_label, subject.severity) == ("Ada", Severity.ALERT)
    assert subject.is_ended
    assert subject.picture_id == EVENT_ID


def test_review_without_objects_has_no_picture() -> None:
    message = review_message("end", data={"detections": [], "audio": ["bark"]})
    assert read_review(message).picture_id is None


def test_stored_event_has_its_box_as_corners() -> None:
    subject = read_stored_event(stored_event())
    assert subject.relative_box == (0.25, 0.25, 0.5, 0.75)
    assert subject.is_ended
    assert subject.severity is Severity.ALERT


@pytest.mark.parametrize(
    ("name", "value", "field", "expected"),
    [
        ("sub_label", "Ada", "sub_label", "Ada"),
        ("sub_label", ["Ada", 0.9], "sub_label", "Ada"),
        ("sub_label", [], "sub_label", None),
        ("sub_label", 7, "sub_label", None),
        ("snapshot", None, "box", None),
        ("snapshot", {"box": [1, 2, 3]}, "box", None),
        ("snapshot", {"box": [-5, 2, 3, 1e300]}, "box", None),
        ("max_severity", "catastrophe", "severity", None),
        ("top_score", 17, "score", 1.0),
        ("top_score", 10**400, "score", 0.8),
        ("top_score", None, "score", 0.8),
        ("entered_zones", "porch", "zones", ()),
        ("entered_zones", ["a", 1, None, ["b"]], "zones", ("a", "b")),
        ("false_positive", "no", "is_false_positive", False),
        ("label", "\ud800", "label", "?"),
        ("end_time", 1700000010.0, "is_ended", True),
    ],
)
def test_event_with_an_odd_value_is_read(
    name: str, value: Any, field: str, expected: object
) -> None:
    subject = read_event({"type": "update", "after": tracked_object(**{name: value})})
    assert getattr(subject, field) == expected


@pytest.mark.parametrize(
    "event_id",
    [None, "", 5, "..", ".", "../../etc", "a/b", "a b", "-", "x" * 65, "a\n", "a%2e", "é"],
)
def test_event_with_a_bad_id_is_refused(event_id: Any) -> None:
    with pytest.raises(ValueError, match="id"):
        read_event({"after": tracked_object(event_id)})


@pytest.mark.parametrize("camera", [None, "", 5, [], "x" * 65])
def test_event_without_a_camera_is_refused(camera: Any) -> None:
    with pytest.raises(ValueError, match="camera"):
        read_event({"after": tracked_object(camera=camera)})


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
_NAMES = st.sampled_from(sorted({*tracked_object(), *stored_event(), "data", "severity"}))


@given(st.sampled_from([read_event, read_review, read_stored_event]), _JSON)
def test_whatever_is_said_is_read_or_refused(read: Any, content: object) -> None:
    for message in (content, {"after": content}):
        with suppress(ValueError):
            read(message)


@given(st.sampled_from([read_event, read_review]), st.dictionaries(_NAMES, _JSON, max_size=6))
def test_whatever_is_read_can_be_stored_and_read_back(read: Any, odd: dict[str, Any]) -> None:
    named = {"id": EVENT_ID, "camera": "front_door"}
    subject = read({"after": {**tracked_object(), **odd, **named}})
    text = subject.model_dump_json(exclude_defaults=True)
    text.encode()
    assert Subject.model_validate_json(text) == subject


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((320, 180, 640, 540), (0.25, 0.25, 0.5, 0.75)),
        ((-40, -1, 2000, 720), (0.0, 0.0, 1.0, 1.0)),
        ((640, 180, 320, 540), None),
        ((1300, 0, 1400, 10), None),
    ],
)
def test_box_is_cut_at_the_edges(box: Any, expected: object) -> None:
    assert relative_box(box, 1280, 720) == expected


def test_box_of_a_camera_without_size_is_none() -> None:
    assert relative_box((0, 0, 1, 1), 0, 720) is None
