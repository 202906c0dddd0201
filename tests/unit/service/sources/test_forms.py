"""Every form of a frame, and every way to get one wrong."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.codec import PayloadError
from broker.message import UNREADABLE, Message, Properties5
from service.intake.wrapping import IncomingFrame
from service.sources.forms import read_frame
from tests.support.factories import make_image

JPEG = make_image()
BASE64 = base64.b64encode(JPEG)


def message(
    payload: bytes,
    user: tuple[tuple[str, str], ...] = (),
    message_expiry: int | None = None,
    properties: Properties5 | None = None,
) -> Message:
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
        properties=properties or Properties5(user=user, message_expiry=message_expiry),
    )


def as_json(**fields: Any) -> bytes:
    return json.dumps({"frame_data": BASE64.decode(), **fields}).encode()


def read(payload: bytes, **options: Any) -> IncomingFrame:
    return read_frame(message(payload, **options), "front")


def refusal(payload: bytes, **options: Any) -> PayloadError:
    with pytest.raises(PayloadError) as caught:
        read(payload, **options)
    return caught.value


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_read_frame_takes_image_bytes_as_they_are(form: str) -> None:
    image = make_image(form=form)
    assert read(image).image == image


@pytest.mark.parametrize(
    "payload",
    [
        BASE64,
        base64.encodebytes(JPEG),
        b"\n" + BASE64 + b"\r\n",
        BASE64.rstrip(b"="),
        b"data:image/jpeg;base64," + BASE64,
        b"DATA:image/png;charset=utf-8;base64," + BASE64,
        b"data:application/octet-stream;base64," + BASE64,
        b"data:;base64," + BASE64,
        as_json(),
        as_json(frame_data="data:image/jpeg;base64," + BASE64.decode()),
        b"\xef\xbb\xbf \n" + as_json(),
    ],
    ids=[
        "bare",
        "lines",
        "spaces",
        "unpadded",
        "uri",
        "odd-uri",
        "bytes-uri",
        "bare-uri",
        "json",
        "json-uri",
        "bom",
    ],
)
def test_read_frame_unwraps_every_form(payload: bytes) -> None:
    assert read(payload).image == JPEG


def test_read_frame_takes_a_url_instead_of_an_image() -> None:
    frame = read(b'{"frame_url": "http://nvr.local/1.jpg"}')
    assert (frame.image, frame.frame_url) == (None, "http://nvr.local/1.jpg")


def test_read_frame_keeps_the_options_of_json_without_the_image_text() -> None:
    frame = read(as_json(camera_id="front", motion_intensity=0.9, job_id="job-1"))
    assert frame.options.motion_intensity == 0.9
    assert frame.options.job_id == "job-1"
    assert not hasattr(frame.options, "frame_data")
    assert frame.options.model_fields_set == {"camera_id", "motion_intensity", "job_id"}


def test_read_frame_takes_the_options_of_a_binary_frame_from_its_properties() -> None:
    frame = read(JPEG, user=(("priority", "high"), ("job_id", "job-1")))
    assert frame.options.job_id == "job-1"


@pytest.mark.parametrize(("expiry", "max_age"), [(60, 60.0), (0, 1.0), (2**32 - 1, 604800.0)])
def test_read_frame_takes_max_age_from_the_message_expiry(expiry: int, max_age: float) -> None:
    assert read(JPEG, message_expiry=expiry).options.max_age == max_age


def test_read_frame_prefers_its_own_max_age() -> None:
    assert read(as_json(max_age=5), message_expiry=60).options.max_age == 5


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"", "empty_payload"),
        (b"hello world", "not_an_image"),
        (b"ON", "not_an_image"),
        (b"online", "not_an_image"),
        (b"\x00" * 100, "not_an_image"),
        (b"GIF89a" + b"\x00" * 50, "not_an_image"),
        (base64.b64encode(b"GIF89a" + b"\x00" * 50), "not_an_image"),
        (b"data:image/jpeg;base64," + b"!" * 20, "bad_base64"),
        (BASE64[:40] + b"*" + BASE64[40:], "bad_base64"),
        (b"data:text/html;base64," + BASE64, "not_an_image"),
        (b"data:image/jpeg," + BASE64, "not_an_image"),
        (b"data:," + BASE64, "not_an_image"),
        (b"data:application/octet-stream;base64,aGVsbG8gd29ybGQ=", "not_an_image"),
        (b'{"frame_data": ', "bad_json"),
        (b"{}", "bad_field"),
        (b'{"frame_data": "x", "frame_url": "http://a"}', "bad_field"),
        (b'{"frame_data": 5}', "bad_field"),
        (b'{"frame_data": "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9"}', "bad_base64"),
        (as_json(unknown=1), "bad_field"),
        (as_json(tasks=[{"kind": "query", "text": ""}]), "bad_field"),
        (as_json(tasks=[{"kind": "detect"}]), "bad_field"),
        (as_json(metadata={"a": "\ud800"}), "bad_field"),
        (as_json(camera_id="back"), "camera_mismatch"),
    ],
)
def test_read_frame_refuses_with_a_code(payload: bytes, code: str) -> None:
    assert refusal(payload).code == code


def test_read_frame_names_the_path_of_a_bad_field() -> None:
    error = refusal(as_json(tasks=["caption", {"paint": "it"}], motion_intensity=2))
    assert "motion_intensity: " in str(error)
    assert "tasks.1: " in str(error)


def test_read_frame_message_can_be_encoded_whatever_the_field_is_called() -> None:
    assert str(refusal(as_json(**{"\ud800": 1}))).encode()


@pytest.mark.parametrize(
    ("payload", "user"),
    [
        (as_json(job_id="job-1", priority="?"), ()),
        (b'{"job_id": "job-1", "frame_data": "?"}', ()),
        (as_json(job_id="job-1", camera_id="back"), ()),
        (b"nothing", (("job_id", "job-1"),)),
        (b"", (("job_id", "job-1"),)),
        (b'{"camera_id": "front"}', (("job_id", "job-1"),)),
        (JPEG, (("job_id", "job-1"), ("max_age", "long"))),
    ],
)
def test_read_frame_refusal_recovers_the_job_id(
    payload: bytes, user: tuple[tuple[str, str], ...]
) -> None:
    assert refusal(payload, user=user).job_id == "job-1"


def test_read_frame_refuses_properties_that_could_not_be_read() -> None:
    error = refusal(JPEG, properties=UNREADABLE)
    assert error.code == "bad_field"


@pytest.mark.parametrize("wrapped", [JPEG, BASE64, as_json(), b"data:image/jpeg;base64," + BASE64])
def test_read_frame_bounds_the_image_in_every_form(wrapped: bytes) -> None:
    assert read_frame(message(wrapped), "front", max_image_bytes=len(JPEG)).image == JPEG
    with pytest.raises(PayloadError) as caught:
        read_frame(message(wrapped), "front", max_image_bytes=len(JPEG) - 1)
    assert caught.value.code == "payload_too_large"


def test_read_frame_bounds_json_that_is_not_an_image() -> None:
    error = refusal(as_json(metadata={"a": "x" * (6 << 20)}))
    assert error.code == "payload_too_large"


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.text(max_size=100).map(lambda text: text.encode())))
def test_read_frame_of_anything_gives_a_frame_or_a_payload_error(payload: bytes) -> None:
    for variant in (payload, b"{" + payload, BASE64[:60] + payload, JPEG[:20] + payload):
        try:
            read(variant)
        except PayloadError as error:
            assert error.code
            assert str(error).encode()
