"""Pictures of a batch-caption are read one by one."""

import time

import pytest

from broker.codec import PayloadError
from gateway.problems import Problem
from gateway.station.vision import _read


def test_one_too_large_is_its_own_matter_and_costs_little() -> None:
    body = b'{"model": "x", "images": ["' + b"a" * (60 << 20) + b'", "b\\/c"]}'
    began = time.thread_time()
    large, small = _read(body, 1 << 20)
    assert time.thread_time() - began < 0.1
    assert isinstance(large, Problem)
    assert large.code == "payload_too_large"
    assert small == "b/c"


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[]",
        b"",
        b'{"images": []}',
        b'{"images": [1]}',
        b'{"images": "a"}',
        b'{"images": ["a", [1]]}',
        b'{"images": [' + b'"a",' * 16 + b'"a"]}',
        b'{"images": ["a"], "model": }',
        b'{"images": [\xff]}',
    ],
)
def test_whatever_is_no_list_of_texts_is_refused(body: bytes) -> None:
    with pytest.raises((Problem, PayloadError)) as caught:
        _read(body, 1 << 20)
    assert getattr(caught.value, "code", None) in {"bad_field", "bad_json"}
