"""Which messages mean motion, whose, and which of them are news."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.sources.names import Names
from service.trigger_settings import TriggerSettings
from service.triggers.motion import Edges, Motion, MotionReader, UnknownCameraError


def reader(**fields: Any) -> MotionReader:
    content = {"topic": "cam/{camera}/motion", "url": "http://cam/", **fields}
    return MotionReader(0, TriggerSettings.model_validate(content), Names(lambda _: None).camera_of)


VTO = {
    "topic": "DahuaVTO/VideoMotion/Event",
    "when": {"path": "Action", "in": ["Start"]},
    "camera": {"path": "serialNumber", "map": {"4K01": "front"}},
}


@pytest.mark.parametrize(
    ("fields", "topic", "payload", "expected"),
    [
        ({}, "cam/front/motion", b"on", ("front", True)),
        ({}, "cam/front/motion", b" ON\n", ("front", True)),
        ({}, "cam/front/motion", b'"on"', ("front", True)),
        ({}, "cam/front/motion", b"1", ("front", True)),
        ({}, "cam/front/motion", b"motion_start", ("front", True)),
        ({}, "cam/front/motion", b"off", ("front", False)),
        ({}, "cam/front/motion", b"unknown", ("front", False)),
        ({}, "cam/front/motion", b"", None),
        ({}, "cam/front/motion", b"\xff\xd8\xff", None),
        ({}, "cam/front/motion", b"x" * 1000, None),
        ({"when": ["Ding"]}, "cam/front/motion", b"ding", ("front", True)),
        ({"when": ["Ding"]}, "cam/front/motion", b"on", ("front", False)),
        ({"topic": "a/+/b", "camera": "front"}, "a/x/b", b"on", ("front", True)),
        (VTO, "-", b'{"Action": "Start", "serialNumber": "4K01"}', ("front", True)),
        (VTO, "-", b'{"Action": "Stop", "serialNumber": "4K01"}', ("front", False)),
        (VTO, "-", b'{"Action": "start", "serialNumber": "back"}', ("back", True)),
        (VTO, "-", b'{"serialNumber": "4K01"}', None),
        (VTO, "-", b'{"Action": ["Start"], "serialNumber": "4K01"}', None),
        (VTO, "-", b"[1]", None),
        (VTO, "-", b"{" * 10_000, None),
        (
            {**VTO, "when": {"path": "a.b", "in": [True]}},
            "-",
            b'{"a": {"b": true}, "serialNumber": "4K01"}',
            ("front", True),
        ),
    ],
)
def test_read_says_whether_there_is_motion_and_where(
    fields: dict[str, Any], topic: str, payload: bytes, expected: tuple[str, bool] | None
) -> None:
    motion = reader(**fields).read(topic, payload)
    assert (motion and (motion.camera_id, motion.is_on)) == expected


@pytest.mark.parametrize(
    ("fields", "topic", "payload"),
    [
        ({}, "cam//motion", b"on"),
        (VTO, "-", b'{"Action": "Start"}'),
        (VTO, "-", b'{"Action": "Start", "serialNumber": ""}'),
    ],
)
def test_read_motion_of_no_camera_is_refused(
    fields: dict[str, Any], topic: str, payload: bytes
) -> None:
    with pytest.raises(UnknownCameraError):
        reader(**fields).read(topic, payload)
    assert reader(**fields).read(topic, payload.replace(b"on", b"off")[:3]) is None


@pytest.mark.parametrize(
    ("fields", "topic", "payload", "expected"),
    [
        ({}, "cam/front/motion", b"on", ("front", "front")),
        ({}, "cam/Front Door/motion", b"on", ("Front_Door", "Front Door")),
        ({}, "cam/bridge/motion", b"on", ("bridge_17f29b", "bridge")),
        ({"topic": "a", "camera": "front"}, "a", b"on", ("front", None)),
        (VTO, "-", b'{"Action": "Start", "serialNumber": "4K01"}', ("front", None)),
        (VTO, "-", b'{"Action": "Start", "serialNumber": "../a"}', ("___a", "../a")),
    ],
)
def test_read_foreign_name_becomes_a_camera_unless_the_map_has_it(
    fields: dict[str, Any], topic: str, payload: bytes, expected: tuple[str, str | None]
) -> None:
    motion = reader(**fields).read(topic, payload)
    assert motion is not None
    assert (motion.camera_id, motion.name) == expected


def test_reader_claims_its_topics_only() -> None:
    found = reader()
    assert found.topic_filter == "cam/+/motion"
    assert found.claims("cam/front/motion")
    assert not found.claims("cam/front/image")
    assert not found.claims("cam/motion")


@settings(deadline=None, max_examples=50)  # of a loaded machine
@given(st.binary(max_size=400))
def test_read_any_payload_is_harmless(payload: bytes) -> None:
    for fields in ({}, VTO):
        try:
            motion = reader(**fields).read("cam/front/motion", payload)
        except UnknownCameraError:
            continue
        assert motion is None or motion.camera_id


@settings(deadline=None, max_examples=50)  # of a loaded machine
@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists))
def test_read_any_value_is_harmless(value: Any) -> None:
    payload = json.dumps({"Action": value, "serialNumber": "4K01"}).encode()
    motion = reader(**VTO).read("-", payload)
    assert motion is None or not motion.is_on


def said(is_on: bool, camera_id: str = "front", trigger: int = 0) -> Motion:
    return Motion(trigger, camera_id, is_on, "cam/front/motion")


def edges(*triggers: dict[str, float]) -> Edges:
    base = {"topic": "cam/{camera}/motion", "url": "http://cam/", "cooldown": 0}
    return Edges([TriggerSettings.model_validate({**base, **each}) for each in triggers])


def test_edges_only_the_step_from_off_to_on_is_news() -> None:
    known = edges({})
    said_in_turn = [True, True, False, False, True, True]
    assert [known.rises(said(each), 1.0) for each in said_in_turn] == [
        *(True, False, False, False, True, False)
    ]


def test_edges_are_each_cameras_and_each_triggers_own() -> None:
    known = edges({}, {})
    assert known.rises(said(True), 1.0)
    assert known.rises(said(True, "back"), 1.0)
    assert known.rises(said(True, trigger=1), 1.0)
    assert not known.rises(said(True), 2.0)


def test_edges_sender_that_never_says_off_is_heard_again_after_the_delay() -> None:
    known = edges({"off_delay": 60.0})
    assert known.rises(said(True), 0.0)
    assert not known.rises(said(True), 50.0)
    assert known.is_on(0, "front", 110.0)
    assert not known.is_on(0, "front", 110.1)
    assert known.rises(said(True), 111.0)


def test_edges_within_the_cooldown_are_no_news() -> None:
    known = edges({"cooldown": 10.0})
    moments = [(True, 0.0), (False, 1.0), (True, 9.9), (False, 9.95), (True, 10.0), (False, 19.0)]
    assert [known.rises(said(is_on), moment) for is_on, moment in moments] == [
        *(True, False, False, False, True, False)
    ]


def test_edges_know_which_trigger_spoke_last_of_a_camera() -> None:
    known = edges({}, {})
    known.rises(said(True), 1.0)
    known.rises(said(False, trigger=1), 2.0)
    assert known.trigger_of("front") == (1, None)
    known.rises(said(False), 3.0)
    assert known.trigger_of("front") == (0, None)
    assert known.trigger_of("back") is None


def test_edges_of_invented_cameras_are_bounded() -> None:
    known = edges({})
    for number in range(10_000):
        known.rises(said(True, f"camera-{number}"), 0.0)
    assert len(known._states) == 4096
