import asyncio
import socket
from typing import Any

import pytest

from gateway.guard.asgi import Receive, Scope, Send
from gateway.server import listen, listening, serving


def test_answers_do_not_wait_for_acknowledgements() -> None:
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


async def test_who_is_cancelled_while_it_opens_leaves_no_listener(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[socket.socket] = []
    is_asked, may_go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    create = socket.create_server

    def slow(*args: Any, **options: Any) -> socket.socket:  # as a resolver can be
        loop.call_soon_threadsafe(is_asked.set)
        asyncio.run_coroutine_threadsafe(may_go_on.wait(), loop).result(10)
        made.append(create(*args, **options))
        return made[0]

    monkeypatch.setattr(socket, "create_server", slow)
    opening = asyncio.create_task(listening("127.0.0.1", 0).__aenter__())
    await asyncio.wait_for(is_asked.wait(), 5)
    opening.cancel()
    await asyncio.wait([opening])
    assert opening.cancelled()
    may_go_on.set()
    async with asyncio.timeout(5):
        while not made or made[0].fileno() != -1:  # noqa: ASYNC110 - what a thread does is not told
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("after_s", [0, 0.1])  # before it has started, and then
async def test_the_listener_is_closed_whatever_ends_what_answers(after_s: float) -> None:
    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None: ...

    listener = listen("127.0.0.1", 0)
    async with serving(app, listener) as answering:
        await asyncio.sleep(after_s)
        answering.cancel()  # as the end of an event loop does
    assert listener.fileno() == -1
