"""Which messages mean motion, whose, and which of them are news."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.trigger_settings import TriggerSettings
from service.triggers.motion import Edges, Motion, MotionReader, UnknownCameraError


def reader(**fields: Any) -> MotionReader:
    content = {"topic": "cam/{camera}/motion", "url": "http://cam/", **fields}
    return MotionReader(0, TriggerSettings.model_validate(content))


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
        ({}, "cam/Front Door/motion", b"on"),
        ({}, "cam/bridge/motion", b"on"),
        ({}, f"cam/{'x' * 65}/motion", b"on"),
        (VTO, "-", b'{"Action": "Start"}'),
        (VTO, "-", b'{"Action": "Start", "serialNumber": "../../etc"}'),
    ],
)
def test_read_motion_of_no_camera_is_refused(
    fields: dict[str, Any], topic: str, payload: bytes
) -> None:
    with pytest.raises(UnknownCameraError):
        reader(**fields).read(topic, payload)
    assert reader(**fields).read(topic, payload.replace(b"on", b"off")[:3]) is None


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


def test_edges_only_the_step_from_off_to_on_is_news() -> None:
    edges = Edges([300.0])
    said_in_turn = [True, True, False, False, True, True]
    assert [edges.rises(said(each), 1.0) for each in said_in_turn] == [
        *(True, False, False, False, True, False)
    ]


def test_edges_are_each_cameras_and_each_triggers_own() -> None:
    edges = Edges([300.0, 300.0])
    assert edges.rises(said(True), 1.0)
    assert edges.rises(said(True, "back"), 1.0)
    assert edges.rises(said(True, trigger=1), 1.0)
    assert not edges.rises(said(True), 2.0)


def test_edges_sender_that_never_says_off_is_heard_again_after_the_delay() -> None:
    edges = Edges([60.0])
    assert edges.rises(said(True), 0.0)
    assert not edges.rises(said(True), 50.0)
    assert edges.is_on(0, "front", 110.0)
    assert not edges.is_on(0, "front", 110.1)
    assert edges.rises(said(True), 111.0)


def test_edges_of_invented_cameras_are_bounded() -> None:
    edges = Edges([60.0])
    for number in range(10_000):
        edges.rises(said(True, f"camera-{number}"), 0.0)
    assert len(edges._states) == 4096
