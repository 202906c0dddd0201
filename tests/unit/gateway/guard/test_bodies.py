"""Bodies that are too large, too slow, cut, compressed or of another kind."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from gateway.guard.bodies import (
    GRACE_S,
    MAX_BYTES_AT_ONCE,
    PACE,
    Body,
    Room,
    max_bytes,
)
from gateway.problems import Problem
from schemas.requests.batches import MAX_BATCH_BYTES
from schemas.requests.operation import MAX_REQUEST_BYTES
from tests.unit.gateway.apps import application, caller

_JSON = {"Content-Type": "application/json"}
_IMAGE = 4 << 20


@pytest.mark.parametrize(
    ("path", "at_least", "below"),
    [
        ("/motion/detect", _IMAGE * 4 // 3, _IMAGE * 3 // 2),
        ("/motion/detect-with-webhook", _IMAGE * 4 // 3, _IMAGE * 3 // 2),
        ("/describe/file", _IMAGE * 4 // 3, _IMAGE * 3 // 2),
        ("/choose", _IMAGE * 4 // 3, _IMAGE * 3 // 2),
        ("/v1/query", _IMAGE * 4 // 3, _IMAGE * 3 // 2),
        ("/chat/completions", 10 * _IMAGE, MAX_BATCH_BYTES + 1),
        ("/v1/chat/completions", 10 * _IMAGE, MAX_BATCH_BYTES + 1),
        ("/api/chat", 10 * _IMAGE, MAX_BATCH_BYTES + 1),
        ("/api/batch", MAX_BATCH_BYTES, MAX_BATCH_BYTES + 1),
        ("/queue/clear", MAX_REQUEST_BYTES, MAX_REQUEST_BYTES + 1),
        ("/v1/queryx", MAX_REQUEST_BYTES, MAX_REQUEST_BYTES + 1),
    ],
)
def test_size_follows_from_what_is_sent_there(path: str, at_least: int, below: int) -> None:
    assert at_least <= max_bytes(path, _IMAGE) < below


async def test_announced_size_is_refused_before_a_byte_is_read() -> None:
    read: list[int] = []

    async def pieces() -> AsyncIterator[bytes]:
        read.append(1)
        yield b"a" * (1 << 20)

    async with caller(application(), "127.0.0.1") as client:
        headers = {**_JSON, "Content-Length": str(1 << 20)}
        answer = await client.post("/size", content=pieces(), headers=headers)
    assert answer.status_code == 413
    assert str(MAX_REQUEST_BYTES) in answer.json()["message"]


async def test_size_that_is_not_announced_is_refused_once_it_is_too_large() -> None:
    num_sent = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal num_sent
        for _ in range(1000):
            num_sent += 1 << 16
            yield b"a" * (1 << 16)

    async with caller(application(), "127.0.0.1") as client:
        answer = await client.post("/size", content=pieces(), headers=_JSON)
        assert answer.status_code == 413
        assert num_sent <= MAX_REQUEST_BYTES + (2 << 16)
        fits = await client.post("/size", content=b"a" * MAX_REQUEST_BYTES, headers=_JSON)
        picture = await client.post("/motion/size", content=b"a" * _IMAGE, headers=_JSON)
    assert (fits.text, picture.text) == (str(MAX_REQUEST_BYTES), str(_IMAGE))


@pytest.mark.parametrize(
    "kind",
    [None, "text/plain", "application/x-www-form-urlencoded", "text/html", "image/svg+xml", "x"],
)
async def test_other_kinds_are_refused(kind: str | None) -> None:
    headers = {} if kind is None else {"Content-Type": kind}
    async with caller(application(), "127.0.0.1") as client:
        answer = await client.post("/size", content=b"{}", headers=headers)
    assert answer.status_code == 415
    assert "application/json" in answer.json()["message"]


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "image/jpeg", "IMAGE/PNG"])
async def test_kinds_of_ours_are_taken(kind: str) -> None:
    async with caller(application(), "127.0.0.1") as client:
        answer = await client.post("/size", content=b"{}", headers={"Content-Type": kind})
        assert answer.text == "2"
        assert (await client.post("/who")).status_code == 200, "nothing is of no kind"


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate, gzip", "x"])
async def test_nothing_is_unpacked(coding: str) -> None:
    async with caller(application(), "127.0.0.1") as client:
        headers = {**_JSON, "Content-Encoding": coding}
        assert (await client.post("/size", content=b"{}", headers=headers)).status_code == 415


class _Slow:
    """Sends a piece whenever time has passed, which it makes pass."""

    def __init__(self, piece: bytes, every_s: float) -> None:
        self.now = 0.0
        self._piece = piece
        self._every_s = every_s

    async def receive(self) -> dict[str, object]:
        self.now += self._every_s
        await asyncio.sleep(0)
        return {"type": "http.request", "body": self._piece, "more_body": True}


async def test_body_that_drips_is_given_up() -> None:
    slow = _Slow(b"a", 1.0)
    body = Body(slow.receive, 1 << 20, Room(), lambda: slow.now)
    with pytest.raises(Problem) as error:
        while True:
            await body.receive()
    assert error.value.status == 408
    assert slow.now <= GRACE_S + 2


async def test_body_that_stops_is_given_up() -> None:
    now = 0.0

    async def never() -> dict[str, object]:
        await asyncio.Event().wait()
        raise AssertionError

    body = Body(never, 1 << 20, Room(look_every_s=0.01), lambda: now)
    receiving = asyncio.create_task(body.receive())
    await asyncio.sleep(0.05)
    assert not receiving.done()
    now = GRACE_S + 1
    with pytest.raises(Problem) as error:
        await asyncio.wait_for(receiving, 5)
    assert error.value.status == 408
    assert not receiving.cancelling()


async def test_body_that_is_waited_for_by_nobody_is_cancelled_as_ever() -> None:
    async def never() -> dict[str, object]:
        await asyncio.Event().wait()
        raise AssertionError

    room = Room(look_every_s=0.01)
    receiving = asyncio.create_task(Body(never, 1 << 20, room).receive())
    await asyncio.sleep(0.03)
    receiving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await receiving


async def test_body_over_a_slow_line_is_waited_for() -> None:
    slow = _Slow(b"a" * PACE, 1.0)
    body = Body(slow.receive, 64 << 20, Room(), lambda: slow.now)
    for _ in range(300):
        await body.receive()


async def test_all_bodies_together_have_a_room() -> None:
    room = Room()

    async def piece() -> dict[str, object]:
        return {"type": "http.request", "body": bytes(32 << 20), "more_body": True}

    bodies = [Body(piece, 64 << 20, room) for _ in range(9)]
    with pytest.raises(Problem) as error:
        for body in bodies:
            await body.receive()
    assert (error.value.code, error.value.status) == ("busy", 429)
    assert room.taken == MAX_BYTES_AT_ONCE
    for body in bodies:
        body.release()
    assert room.taken == 0


async def test_cut_body_is_no_error_of_ours() -> None:
    said: list[dict[str, object]] = []
    messages: Iterator[dict[str, object]] = iter(
        [
            {"type": "http.request", "body": b"{", "more_body": True},
            {"type": "http.disconnect"},
        ]
    )

    async def receive() -> dict[str, object]:
        return next(messages)

    async def send(message: dict[str, object]) -> None:
        said.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/size",
        "query_string": b"",
        "headers": [
            (b"host", b"localhost"),
            (b"content-type", b"application/json"),
            (b"transfer-encoding", b"chunked"),
        ],
        "client": ("127.0.0.1", 1),
    }
    await application()(scope, receive, send)  # type: ignore[arg-type]
    assert said == []
