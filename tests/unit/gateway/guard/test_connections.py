"""Connections and what waits on them, counted over all: who has most makes room, few are served."""

import asyncio

from gateway.guard.asgi import Receive, Scope, Send
from gateway.guard.connections import Connections
from tests.unit.gateway.guard.test_protocol import GOOD, answer, server


async def test_requests_that_wait_behind_others_are_bounded_over_all_connections() -> None:
    is_free = asyncio.Event()

    async def late(scope: Scope, receive: Receive, send: Send) -> None:
        await is_free.wait()
        headers = [(b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async with server(late) as connect:
        flood = [await connect() for _ in range(40)]
        for _, writer in flood:
            writer.write((GOOD * 200).replace("\n", "\r\n").encode())
        reader, writer = await connect()
        writer.write((GOOD * 8).replace("\n", "\r\n").encode())
        await asyncio.sleep(0.3)
        is_free.set()
        assert [(await answer(reader))[0] for _ in range(8)] == [200] * 8
        first = [(await answer(each))[0] for each, _ in flood]
        assert (first.count(200), first.count(400)) == (20, 20)
        for each, status in zip((each for each, _ in flood), first, strict=True):
            more = 199 if status == 200 else 0
            assert {(await answer(each))[0] for _ in range(more)} <= {200}
        writer.write((GOOD * 200).replace("\n", "\r\n").encode())
        assert {(await answer(reader))[0] for _ in range(200)} == {200}


class _Connection:
    def __init__(self) -> None:
        self.is_open = True

    def close_idle(self) -> None:
        self.is_open = False


def test_idle_connections_make_room_those_of_whoever_has_most_first() -> None:
    connections = Connections(most=10, most_of_one=6)
    crowd = [_Connection() for _ in range(5)]
    others = [_Connection() for _ in range(3)]
    for each in crowd:
        assert connections.admit(each, "crowd")
        connections.mark_idle(each, "crowd")
    assert [each.is_open for each in crowd] == [True] * 5
    assert connections.most_of_one == 5
    assert connections.admit(_Connection(), "crowd")
    assert [each.is_open for each in crowd] == [False, True, True, True, True]
    for number, each in enumerate(others):
        assert connections.admit(each, f"other {number}")
        connections.mark_idle(each, f"other {number}")
    for number in range(20):
        assert connections.admit(_Connection(), f"new {number}") == (number < 2 + 4 + 3)


def test_connections_that_are_answered_are_never_closed_for_others() -> None:
    connections = Connections(most=8, most_of_one=4)
    busy = [_Connection() for _ in range(4)]
    for each in busy:
        connections.admit(each, "a")
        connections.mark_idle(each, "a")
        connections.mark_busy(each, "a")
    assert not connections.admit(_Connection(), "a")
    assert all(each.is_open for each in busy)
    assert connections.admit(_Connection(), "b")
    connections.forget(busy[0], "a")
    assert connections.admit(_Connection(), "a")
