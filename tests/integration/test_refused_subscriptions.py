"""A broker that does not let us listen everywhere: Mosquitto's rules cannot say so, others' can."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from broker.connection import Connection
from broker.options import ConnectionOptions, Subscription

_CONNECT, _SUBSCRIBE, _PINGREQ = 1, 8, 12
_REFUSED, _GRANTED = 0x80, 0x01


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Speak as much of MQTT 3.1.1 as the test needs; refuse what begins with `no/`."""
    try:
        while head := await reader.read(1):
            body = await reader.readexactly(await _length(reader))
            kind = head[0] >> 4
            if kind == _CONNECT:
                writer.write(b"\x20\x02\x00\x00")
            elif kind == _PINGREQ:
                writer.write(b"\xd0\x00")
            elif kind == _SUBSCRIBE:
                codes = bytes(
                    _REFUSED if topic.startswith(b"no/") else _GRANTED for topic in _filters(body)
                )
                writer.write(b"\x90" + bytes([2 + len(codes)]) + body[:2] + codes)
    except asyncio.IncompleteReadError:
        pass
    finally:
        writer.close()


async def _length(reader: asyncio.StreamReader) -> int:
    length = shift = 0
    while True:
        [byte] = await reader.readexactly(1)
        length |= (byte & 0x7F) << shift
        if byte < 0x80:
            return length
        shift += 7


def _filters(body: bytes) -> list[bytes]:
    found, at = [], 2
    while at < len(body):
        size = int.from_bytes(body[at : at + 2])
        found.append(body[at + 2 : at + 2 + size])
        at += 3 + size
    return found


@asynccontextmanager
async def refusing_broker() -> AsyncIterator[int]:
    """Its port."""
    server = await asyncio.start_server(_serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def connected(*subscriptions: Subscription) -> AsyncIterator[Connection]:
    async with refusing_broker() as port:
        options = ConnectionOptions(host="127.0.0.1", port=port, client_id="c", protocol="3.1.1")
        async with connection_to(options, subscriptions) as connection:
            yield connection


@asynccontextmanager
async def connection_to(
    options: ConnectionOptions, subscriptions: Sequence[Subscription]
) -> AsyncIterator[Connection]:
    async with Connection(options, subscriptions) as connection:
        async with asyncio.timeout(20):
            await connection.wait_connected()
        yield connection


async def test_refused_subscription_is_known_and_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with connected(Subscription("yes/1"), Subscription("no/1")) as connection:
        assert connection.state.refused_subscriptions == ("no/1",)
    assert [(each.levelname, "no/1" in each.message) for each in caplog.records] == [
        ("ERROR", True)
    ]


async def test_refused_optional_subscription_is_no_trouble(
    caplog: pytest.LogCaptureFixture,
) -> None:
    optional = Subscription("no/1", is_optional=True)
    async with connected(optional, Subscription("yes/1")) as connection:
        assert connection.state.refused_subscriptions == ()
        assert connection.state.is_subscribed
    assert [(each.levelname, "no/1" in each.message) for each in caplog.records] == [
        ("WARNING", True)
    ]
