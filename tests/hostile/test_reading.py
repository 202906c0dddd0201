"""Whatever is sent, its reader gives a frame or says with a known code why not, and soon."""

import json
import time
from datetime import UTC, datetime
from functools import cache
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.codec import PayloadError, read_properties
from broker.message import Message, Properties5
from engine.errors import ImageError
from engine.images import inspect
from schemas.frame import FrameOptions, MotionFrame
from service.intake.wrapping import IncomingFrame
from service.sources.forms import read_frame
from tests.hostile.case import BASE64, IMAGE_CODES, PLAIN, READING_CODES
from tests.hostile.families.images import small

_MOST_SECONDS = 1.0  # of processor time; the slowest take some milliseconds
_MOST_CHARACTERS = 1000  # of an error message

_TEXTS = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        [
            "",
            "front",
            "high",
            "caption",
            "a" * 65,
            "x" * 2001,
            "\ud800",
            "\0",
            "2026-01-01T12:00:00Z",
            "0001-01-01T00:00:00+14:00",
            "9999-12-31T23:59:59-14:00",
            "http://xn--.example.com/1.jpg",
            "nan",
            "1e999",
            '["caption"]',
            '{"a": 1}',
            BASE64.decode(),
            "data:image/png;base64," + BASE64.decode(),
        ]
    ),
)
_NUMBERS = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from([0, 0.5, 1, 3, 10, 604_800, 10**400, 2**63, float("inf"), float("nan")]),
)
_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), _NUMBERS, _TEXTS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(_TEXTS, inner, max_size=4)
    ),
    max_leaves=12,
)
_TASKS = st.lists(
    st.one_of(
        st.just("caption"),
        st.dictionaries(
            st.sampled_from(["query", "detect", "point"]), _TEXTS, min_size=1, max_size=1
        ),
        st.fixed_dictionaries(
            {"kind": st.sampled_from(["caption", "query", "detect", "paint"])},
            optional={"text": _TEXTS},
        ),
        _JSON,
    ),
    min_size=1,
    max_size=3,
)
#: Values that have a chance to be sound, so that the others are reached.
_LIKELY: dict[str, st.SearchStrategy[Any]] = {
    "camera_id": st.just("front"),
    "motion_intensity": st.floats(0, 1),
    "priority": st.sampled_from(["critical", "high", "normal", "low", "preload"]),
    "timestamp": st.datetimes(timezones=st.timezones()).map(datetime.isoformat),
    "location": st.text(max_size=20),
    "metadata": st.dictionaries(_TEXTS, _JSON, max_size=3),
    "prompt": st.text(min_size=1, max_size=20),
    "length": st.sampled_from(["short", "normal", "long"]),
    "tasks": _TASKS,
    "webhook_url": st.just("https://example.com/hook"),
    "webhook_headers": st.dictionaries(st.just("X-Token"), st.text("abc "), max_size=1),
    "job_id": st.just("job-1"),
    "max_age": st.floats(0, 604_800, exclude_min=True),
    "max_attempts": st.integers(1, 10),
    "frame_data": st.sampled_from([BASE64.decode(), "data:image/jpeg;base64," + BASE64.decode()]),
    "frame_url": st.just("http://127.0.0.1/1.jpg"),
}


@st.composite
def _contents(draw: st.DrawFn) -> dict[str, Any]:
    """Some fields, most of them sound: one wrong value hides all others."""
    names = draw(st.lists(st.sampled_from(sorted(_LIKELY)), max_size=5, unique=True))
    return {name: draw(_JSON if draw(_RARELY) else _LIKELY[name]) for name in names}


_RARELY = st.sampled_from([False] * 7 + [True])


@st.composite
def _json_frames(draw: st.DrawFn) -> bytes:
    """JSON like that of a frame, some of it damaged."""
    content = draw(_contents())
    if not draw(_RARELY):
        content["frame_data"] = BASE64.decode()
        content.pop("frame_url", None)
    if draw(_RARELY):
        content[draw(_TEXTS)] = draw(_JSON)
    text = json.dumps(content, ensure_ascii=draw(st.booleans()))
    payload = bytearray(text.encode("utf-8", "surrogatepass"))
    for _ in range(3 if draw(_RARELY) else 0):
        place = draw(st.integers(0, len(payload) - 1))
        payload[place] = draw(st.integers(0, 255))
    return bytes(payload)


@st.composite
def _user_properties(draw: st.DrawFn) -> tuple[tuple[str, str], ...]:
    """Fields as texts, and properties that are none of ours."""
    pairs = [
        (name, value if isinstance(value, str) else json.dumps(value))
        for name, value in draw(_contents()).items()
        if name in FrameOptions.model_fields
    ]
    if draw(_RARELY):
        pairs.append((draw(_TEXTS), draw(_TEXTS)))
    return tuple(pairs)


_OTHERS = st.one_of(
    st.binary(max_size=60),
    st.sampled_from([PLAIN, BASE64, b"data:image/jpeg;base64," + BASE64]),
    st.tuples(st.sampled_from([PLAIN, BASE64, b"{"]), st.binary(max_size=9)).map(b"".join),
)
_PROPERTIES = st.builds(
    Properties5,
    user=_user_properties(),
    response_topic=st.none() | _TEXTS,
    correlation_data=st.none() | st.binary(max_size=20),
    message_expiry=st.none() | st.integers(0, 2**32 - 1),
    content_type=st.none() | _TEXTS,
    is_readable=_RARELY.map(lambda is_rare: not is_rare),
)


@settings(max_examples=300, deadline=None)
@given(_json_frames() | _OTHERS, _PROPERTIES)
def test_read_frame_gives_a_frame_or_a_known_code(payload: bytes, properties: Properties5) -> None:
    began = time.process_time()
    try:
        frame = read_frame(_message(payload, properties), "front")
    except PayloadError as error:
        _check_refusal(error)
    else:
        _check_frame(frame)
    assert time.process_time() - began < _MOST_SECONDS


@settings(max_examples=200, deadline=None)
@given(_user_properties())
def test_read_properties_gives_options_or_a_known_code(pairs: tuple[tuple[str, str], ...]) -> None:
    try:
        options = read_properties(pairs)
    except PayloadError as error:
        _check_refusal(error)
    else:
        _check_options(options)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_inspect_of_a_damaged_image_gives_a_header_or_a_known_code(data: st.DataObject) -> None:
    image = bytearray(data.draw(st.sampled_from(_small_images())))
    for _ in range(data.draw(st.integers(0, 6))):
        place = data.draw(st.integers(0, len(image) - 1))
        image[place] = data.draw(st.sampled_from([0, 0xD8, 0xFF]) | st.integers(0, 255))
    began = time.process_time()
    try:
        header = inspect(bytes(image))
    except ImageError as error:
        assert error.code in IMAGE_CODES
    else:
        assert header.width * header.height > 0
    assert time.process_time() - began < _MOST_SECONDS


@cache
def _small_images() -> list[bytes]:
    return [each.data for each in small() if 0 < len(each.data) < 4000]


def test_every_field_of_a_frame_is_drawn() -> None:
    assert _LIKELY.keys() == MotionFrame.model_fields.keys()


def _message(payload: bytes, properties: Properties5) -> Message:
    return Message(
        topic="moondream2mqtt/front/frame",
        payload=payload,
        qos=1,
        retain=False,
        dup=False,
        generation=1,
        mid=1,
        arrived_at=datetime(2026, 1, 1, tzinfo=UTC),
        arrived_monotonic=0.0,
        properties=properties,
    )


def _check_refusal(error: PayloadError) -> None:
    assert error.code in READING_CODES
    assert len(str(error).encode()) < _MOST_CHARACTERS
    assert BASE64.decode() not in str(error)
    assert error.job_id in {None, "job-1"} or len(error.job_id or "") <= 64


def _check_frame(frame: IncomingFrame) -> None:
    assert (frame.image is None) != (frame.frame_url is None)
    assert frame.options.camera_id in {None, "front"}
    _check_options(frame.options)


def _check_options(options: FrameOptions) -> None:
    """What has been accepted can be kept, and is accepted when it is read again."""
    text = options.model_dump_json()
    assert FrameOptions.model_validate_json(text) == options
