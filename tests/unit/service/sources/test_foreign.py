"""Pictures in JSON that is not ours."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.codec import PayloadError
from broker.message import Message, Properties5
from service.intake.wrapping import IncomingFrame
from service.sources.foreign import IMAGE_PATHS, TIME_KEYS, read_foreign, read_time
from service.sources.forms import Foreign, read_frame
from tests.support.factories import make_image

JPEG = make_image()
BASE64 = base64.b64encode(JPEG).decode()
MOST = 1 << 20
TAKEN = datetime(2026, 3, 1, 12, 0, 0, 500_000, tzinfo=UTC)


def nested(path: str, value: Any) -> dict[str, Any]:
    for part in reversed(path.split(".")):
        value = {part: value}
    return dict(value)


def read(content: dict[str, Any], image_path: str | None = None) -> IncomingFrame:
    return read_foreign(content, image_path, MOST)


@pytest.mark.parametrize("path", IMAGE_PATHS)
@pytest.mark.parametrize(
    "text", [BASE64, f"data:image/jpeg;base64,{BASE64}", base64.encodebytes(JPEG).decode()]
)
def test_image_is_found_under_each_known_key(path: str, text: str) -> None:
    frame = read({**nested(path, text), "event": "motion", "score": 3})
    assert (frame.image, frame.frame_url) == (JPEG, None)


def test_first_key_that_holds_an_image_counts() -> None:
    other = base64.b64encode(make_image(1)).decode()
    assert read({"snapshot": other, "image": BASE64}).image == JPEG
    assert read({"image": "", "data": {"image": other}, "frame": BASE64}).image == JPEG
    assert read({"image": "motion", "data": "front door", "picture": BASE64}).image == JPEG
    assert read({"image": "é" * 9, "data": 7, "jpeg": None, "snapshot": BASE64}).image == JPEG


def test_url_stands_for_its_image() -> None:
    frame = read({"image": "http://nvr.local/1.jpg?a=b"})
    assert (frame.image, frame.frame_url) == (None, "http://nvr.local/1.jpg?a=b")


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("a.b.c", {"a": {"b": {"c": BASE64}}}),
        ("files.1.content", {"files": [{"content": "x"}, {"content": BASE64}]}),
    ],
)
def test_path_of_the_source_is_the_only_one(path: str, content: dict[str, Any]) -> None:
    assert read({**content, "image": "http://other/"}, path).image == JPEG
    with pytest.raises(PayloadError, match=path) as caught:
        read({"image": BASE64}, path)
    assert caught.value.code == "not_an_image"


@pytest.mark.parametrize(
    ("content", "code", "named"),
    [
        ({}, "not_an_image", "payload.value.image"),
        ({"image": {"data": BASE64}}, "not_an_image", "image_b64"),
        ({"image": [BASE64]}, "not_an_image", "no image"),
        ({"image": "motion"}, "not_an_image", "image: "),
        ({"image": "/9j/****"}, "bad_base64", "image: "),
        ({"jpeg": base64.b64encode(JPEG + bytes(MOST)).decode()}, "payload_too_large", "jpeg: "),
        ({"image": "ftp://nvr/1.jpg"}, "not_an_image", "image"),
        ({"image": "http://" + "x" * 3000}, "not_an_image", "image"),
    ],
)
def test_object_without_an_image_is_refused_with_where_it_was_looked_for(
    content: dict[str, Any], code: str, named: str
) -> None:
    with pytest.raises(PayloadError) as caught:
        read(content)
    assert caught.value.code == code
    assert named in str(caught.value)


@pytest.mark.parametrize(
    "said",
    [
        "2026-03-01T12:00:00.5Z",
        "2026-03-01T13:00:00.500+01:00",
        TAKEN.timestamp(),
        TAKEN.timestamp() * 1000,
        str(TAKEN.timestamp()),
        str(int(TAKEN.timestamp() * 1000)),
    ],
)
@pytest.mark.parametrize("key", TIME_KEYS)
def test_time_is_read_in_every_way(key: str, said: Any) -> None:
    assert read({"image": BASE64, key: said}).options.timestamp == TAKEN


@pytest.mark.parametrize(
    "said", [None, True, "noon", "", [], {}, 1e30, -1e300, "nan", "1e999", 10**400]
)
def test_what_is_no_time_is_left_alone(said: Any) -> None:
    assert read_time(said) is None
    assert read({"image": BASE64, "time": said}).options.timestamp is None


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=30)
    | st.just(BASE64),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["value", "image", "payload", "data"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from([*IMAGE_PATHS[:7], "payload", *TIME_KEYS]), _VALUES))
def test_any_object_gives_a_picture_or_a_reason(content: dict[str, Any]) -> None:
    try:
        frame = read(content)
    except PayloadError as error:
        assert str(error).encode()
    else:
        assert (frame.image is None) is not (frame.frame_url is None)


# -- in a message ----------------------------------------------------------------------------------


def message(content: Any) -> Message:
    return Message(
        topic="nvr/front/alert",
        payload=content if isinstance(content, bytes) else json.dumps(content).encode(),
        qos=1,
        retain=False,
        dup=False,
        generation=1,
        mid=1,
        arrived_at=TAKEN,
        arrived_monotonic=0.0,
        properties=Properties5(),
    )


def test_frame_of_ours_is_read_as_ours_also_on_a_source() -> None:
    said = {"frame_data": BASE64, "motion_intensity": 0.9, "job_id": "mine"}
    frame = read_frame(message(said), "front", foreign=Foreign())
    assert (frame.options.motion_intensity, frame.options.job_id) == (0.9, "mine")
    with pytest.raises(PayloadError) as caught:
        read_frame(message({**said, "camera_id": "back"}), "front", foreign=Foreign())
    assert caught.value.code == "camera_mismatch"


def test_other_object_is_read_as_foreign_on_a_source_and_refused_on_our_topic() -> None:
    said = {"image": BASE64, "camera_id": "Back Yard", "job_id": "theirs", "ts": 0}
    frame = read_frame(message(said), "front", foreign=Foreign())
    assert (frame.image, frame.options.job_id, frame.options.camera_id) == (JPEG, None, None)
    with pytest.raises(PayloadError) as caught:
        read_frame(message(said), "front")
    assert caught.value.code == "bad_field"


@pytest.mark.parametrize("payload", [b'{"image": ', b"{" + b'"a":[' * 99, b'{"image": "\xff"}'])
def test_hostile_json_is_refused(payload: bytes) -> None:
    with pytest.raises(PayloadError) as caught:
        read_frame(message(payload), "front", foreign=Foreign())
    assert caught.value.code == "bad_json"
