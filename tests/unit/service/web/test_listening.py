"""A gateway that cannot be opened is said, and tried again."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.server import listen
from service.errors import ConfigurationError
from service.web.listening import Listening
from tests.support.free_port import free_port


async def test_port_in_use_is_said_once_and_taken_when_it_is_free(
    caplog: pytest.LogCaptureFixture,
) -> None:
    port = free_port()
    other = socket.create_server(("127.0.0.1", port))
    is_open = asyncio.Event()

    @asynccontextmanager
    async def opening() -> AsyncIterator["asyncio.Task[None]"]:
        try:
            listener = listen("127.0.0.1", port)
        except OSError as error:
            raise ConfigurationError(f"http.port: {error.strerror}") from error
        with listener:
            is_open.set()
            yield asyncio.ensure_future(asyncio.Event().wait())  # type: ignore[arg-type]

    listening = Listening(opening, again_s=0.01)
    running = asyncio.create_task(listening.run())
    with caplog.at_level(logging.WARNING):
        await asyncio.sleep(0.1)
    assert listening.health().status == "degraded"
    assert "http.port" in listening.health().message
    assert len(caplog.records) == 1
    other.close()
    await asyncio.wait_for(is_open.wait(), 5)
    assert listening.health().status == "healthy"
    running.cancel()
    await asyncio.wait([running])


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-name.invalid", "2001:db8::1"])
def test_address_that_is_not_there_is_an_error_of_the_system(host: str) -> None:
    with pytest.raises(OSError):
        listen(host, 0)


def test_all_addresses_are_those_of_both_protocols() -> None:
    with listen("::", 0) as listener:
        port = listener.getsockname()[1]
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, port), timeout=5).close()
