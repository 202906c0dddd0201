"""A large array is cut into its elements without being read, and nothing else is changed."""

import json
import threading
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.codec import PayloadError
from broker.pieces import split_array

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=80),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(
    st.dictionaries(st.sampled_from(["a", "items ", "Items", '"items', "name"]), _VALUES),
    st.lists(_VALUES),
    st.sampled_from([None, 1]),
    st.booleans(),
)
def test_elements_and_rest_are_what_json_says(
    fields: dict[str, Any], items: list[Any], indent: int | None, is_ascii: bool
) -> None:
    whole = {**fields, "items": items, "behind": {"items": [1, 2]}}
    payload = json.dumps(whole, indent=indent, ensure_ascii=is_ascii).encode()
    rest, elements = split_array(payload, "items")
    assert elements is not None
    assert [json.loads(bytes(each)) for each in elements] == items
    assert json.loads(rest) == {**whole, "items": []}


@pytest.mark.parametrize("payload", [b"{}", b'{"items": {"items": [1]}}', b'{"a": ["items", [1]]}'])
def test_object_without_the_array_stays_as_it_is(payload: bytes) -> None:
    assert split_array(payload, "items") == (payload, None)


@pytest.mark.parametrize(
    "payload",
    [
        b'{"items": [1',
        b'{"items": [1]',
        b'{"items": [1}',
        b'{"items": ["a]}',
        b'{"items": ["a\\"]}',
        b'{"items": [1,]}',
        b'{"items": [,1]}',
        b'{"items": [' + b"1," * 300_001 + b"1]}",
        b'{"items": ' + b"[" * 300_001,
    ],
)
def test_what_is_no_json_is_refused_before_it_is_built(payload: bytes) -> None:
    with pytest.raises(PayloadError) as caught:
        split_array(payload, "items")
    assert caught.value.code == "bad_json"


_LONG = 60 << 20


@pytest.mark.parametrize(
    "payload",
    [
        b'{"items":["' + b'\\"' * (_LONG // 2) + b'"]}',
        b'{"items":["' + b"\\\\" * (_LONG // 2) + b'"]}',
        b'{"items":["' + b"a" * _LONG + b'"]}',
        b'{"items":[' + b" " * _LONG + b"]}",
        b'{"items":[' + b"1" * _LONG + b"]}",
        b'{"items":[' + b"[" * _LONG,
        b" " * _LONG + b"{}",
    ],
    ids=["quotes", "backslashes", "text", "blanks", "number", "brackets", "empty"],
)
def test_long_ones_hold_up_no_other_thread(payload: bytes) -> None:
    began, pauses, is_over = time.perf_counter(), [0.0], threading.Event()

    def tick() -> None:
        last = began
        while not is_over.is_set():
            time.sleep(0.001)
            pauses.append(time.perf_counter() - last)
            last += pauses[-1]

    ticking = threading.Thread(target=tick)
    ticking.start()
    with suppress(PayloadError):
        split_array(payload, "items")
    is_over.set()
    ticking.join()
    assert max(pauses) < 0.2
