"""The wire format against what a sender can get wrong."""

import json
import math
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.codec import (
    PayloadError,
    encode,
    read_foreign_json,
    read_json,
    read_properties,
    validate,
)
from schemas.frame import Length, MotionFrame, Priority, Task
from schemas.job import JobStatus
from schemas.status import StatusDocument


def code_of(payload: bytes, **limits: int) -> str:
    with pytest.raises(PayloadError) as caught:
        read_json(payload, **limits)
    return caught.value.code


def test_encode_writes_utf8_and_times_with_an_offset() -> None:
    document = StatusDocument(
        job_id="a",
        camera_id="front",
        status=JobStatus.QUEUED,
        message="höher",
        priority=Priority.CRITICAL,
        timestamp=datetime(2026, 1, 1, tzinfo=UTC),
    )
    content = json.loads(encode(document).decode("utf-8"))
    assert content["timestamp"] == "2026-01-01T00:00:00Z"
    assert content["priority"] == "critical"
    assert content["message"] == "höher"


def test_read_json_takes_a_byte_order_mark_and_the_last_of_duplicate_keys() -> None:
    assert read_json(b'\xef\xbb\xbf{"a": 1, "a": 2}') == {"a": 2}


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": 1e999}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b"\xff\xfe{",
        b'{"a": "\xc3"}',
        b"[" * 17 + b"]" * 17,
        b"[" * 60_000,
        b"[" + b"[]," * 5000 + b"[]]",
        b"[" + b"1," * 40_000 + b"1]",
    ],
)
def test_read_json_refuses_hostile_or_broken_json(payload: bytes) -> None:
    assert code_of(payload, max_bytes=1 << 20) == "bad_json"


def test_read_json_takes_sixteen_levels() -> None:
    assert read_json(b"[" * 16 + b"]" * 16)


def test_read_json_refuses_what_is_too_large_before_reading_it() -> None:
    assert code_of(b"{" * 100, max_bytes=99) == "payload_too_large"


@given(st.binary(max_size=300))
def test_read_json_of_anything_gives_a_value_or_a_payload_error(payload: bytes) -> None:
    try:
        read_json(payload)
    except PayloadError as error:
        assert error.code == "bad_json"


def test_read_properties_reads_every_kind() -> None:
    options = read_properties(
        [
            ("job_id", "job-1"),
            ("motion_intensity", "0.75"),
            ("priority", "immediate"),
            ("timestamp", "2026-01-01T12:00:00+01:00"),
            ("tasks", '["caption", {"detect": "person"}]'),
            ("metadata", '{"zone": "entrance"}'),
            ("length", "short"),
            ("max_age", "60"),
            ("max_attempts", "2"),
            ("traceparent", "00-4bf9-01"),
        ]
    )
    assert options.job_id == "job-1"
    assert options.motion_intensity == 0.75
    assert options.priority is Priority.CRITICAL
    assert options.timestamp == datetime(2026, 1, 1, 11, tzinfo=UTC)
    assert options.tasks == (
        Task.model_validate("caption"),
        Task.model_validate({"detect": "person"}),
    )
    assert options.metadata == {"zone": "entrance"}
    assert options.length is Length.SHORT
    assert (options.max_age, options.max_attempts) == (60.0, 2)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("motion_intensity", "1.5"),
        ("motion_intensity", "nan"),
        ("motion_intensity", "much"),
        ("max_age", "inf"),
        ("max_age", "-1"),
        ("max_attempts", "2.5"),
        ("tasks", "caption"),
        ("tasks", '["paint"]'),
        ("tasks", '[{"kind": "query", "text": ""}]'),
        ("metadata", "[1]"),
        ("metadata", "[" * 20 + "]" * 20),
        ("metadata", json.dumps({"a": "x" * 9000})),
        ("priority", "urgent"),
        ("timestamp", "0001-01-01T00:00:00"),
        ("timestamp", "0001-01-01T00:00:00+14:00"),  # no time in UTC
        ("timestamp", "9999-12-31T23:59:59-14:00"),
        ("camera_id", "a/b"),
        ("webhook_headers", '{"X-A": "a\\r\\nB: c"}'),
        ("webhook_headers", json.dumps({f"X-{number}": "" for number in range(33)})),
    ],
)
def test_read_properties_names_the_field_that_is_wrong(name: str, text: str) -> None:
    with pytest.raises(PayloadError, match=f"^{name}") as caught:
        read_properties([("job_id", "job-1"), (name, text)])
    assert caught.value.code in {"bad_field", "bad_json"}
    assert caught.value.job_id == "job-1"


def test_read_properties_error_never_shows_the_value() -> None:
    with pytest.raises(PayloadError) as caught:
        read_properties([("prompt", "secret" * 1000)])
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"", "bad_json"),
        (b"{", "bad_json"),
        (b"\xff", "bad_json"),
        (b"[" * 100_000, "bad_json"),
        (b"[" * 40_000, "bad_json"),
        (b"1" * 5000, "bad_json"),
        (b'"' + b"x" * 1_000_000 + b'"', "payload_too_large"),
    ],
)
def test_foreign_json_is_bounded(payload: bytes, code: str) -> None:
    with pytest.raises(PayloadError) as caught:
        read_foreign_json(payload, max_bytes=1_000_000)
    assert caught.value.code == code


def test_foreign_json_may_hold_much_that_nobody_looks_at() -> None:
    payload = json.dumps({"id": "1", "speed": math.nan, "path": [[[0.5, 0.5], 1.0]] * 20_000})
    content = read_foreign_json(payload.encode(), max_bytes=1_000_000)
    assert (content["id"], content["speed"], len(content["path"])) == ("1", None, 20_000)


@pytest.mark.parametrize(
    "content",
    [
        {f"k{number}": 1 for number in range(30_000)},
        {"tasks": [1] * 30_000},
        {"tasks": [{"query": "?", "choices": [1] * 30_000}]},
        {"tasks": [{f"k{number}": 1 for number in range(30_000)}]},
        {"tasks": [1] * 1_900},
    ],
    ids=["fields", "tasks", "choices", "fields of a task", "nearly too many"],
)
def test_thousands_of_mistakes_cost_little(content: dict[str, Any]) -> None:
    began = time.thread_time()
    with pytest.raises(PayloadError) as caught:
        validate(MotionFrame, {"frame_data": "x", **content})
    assert caught.value.code == "bad_field"
    assert time.thread_time() - began < 0.05


def test_metadata_may_have_many_values() -> None:
    validate(MotionFrame, {"frame_data": "x", "metadata": {"a": [1] * 2500}})


def test_millions_of_escaped_characters_cost_little() -> None:
    began = time.thread_time()
    with pytest.raises(PayloadError, match="escaped"):
        read_json(b'"' + b"\\ud800" * (2 << 20) + b'"', max_bytes=16 << 20)
    assert time.thread_time() - began < 0.1
