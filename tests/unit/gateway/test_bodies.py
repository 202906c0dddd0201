from collections.abc import Iterator

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from broker.codec import PayloadError
from gateway.bodies import read_body, read_object, read_request
from gateway.problems import Problem
from schemas.requests.batches import BATCH_SUBMIT


def _request(*pieces: bytes, is_cut: bool = False) -> Request:
    messages: Iterator[Message] = iter(
        [
            *({"type": "http.request", "body": each, "more_body": True} for each in pieces),
            {"type": "http.disconnect" if is_cut else "http.request"},
        ]
    )

    async def receive() -> Message:
        return next(messages)

    return Request({"type": "http", "method": "POST", "headers": []}, receive)


async def test_pieces_are_one_body() -> None:
    assert await read_body(_request(b"a", b"b"), 2) == b"ab"


async def test_body_that_is_too_large_is_not_read() -> None:
    with pytest.raises(Problem) as refused:
        await read_body(_request(b"ab", b"c"), 2)
    assert (refused.value.code, refused.value.status) == ("payload_too_large", 413)


async def test_body_that_is_cut_is_none() -> None:
    with pytest.raises(ClientDisconnect):
        await read_body(_request(b"ab", is_cut=True), 2)


@pytest.mark.parametrize("body", [b"", b" \r\n"])
def test_nothing_is_an_object_without_fields(body: bytes) -> None:
    assert read_object(body) == {}


@pytest.mark.parametrize("body", [b"[]", b"1", b"null", b"{", b"\xff"])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(PayloadError) as refused:
        read_object(body)
    assert refused.value.code == "bad_json"


def test_elements_of_a_batch_are_left_unread() -> None:
    content = read_request(b'{"items": [{"a": 1}, "x"], "name": "n"}', BATCH_SUBMIT)
    assert [bytes(each).strip() for each in content["items"]] == [b'{"a": 1}', b'"x"']
    assert content["name"] == "n"


@pytest.mark.parametrize("body", [b"[]", b"1", b'{"items": 1}'])
def test_batch_of_another_form_is_read_as_json(body: bytes) -> None:
    try:
        assert read_request(body, BATCH_SUBMIT) == {"items": 1}
    except PayloadError as error:
        assert error.code == "bad_json"
