"""A TCP proxy in front of a broker: cuts connections, and refuses MQTT 5 as old brokers do."""

import asyncio
import socket
import struct
from contextlib import suppress
from types import TracebackType
from typing import Literal, Self

_CONNACK_OLD_REFUSAL = b"\x20\x02\x00\x01"  # MQTT 3.1.1: unacceptable protocol version
_DISCONNECT_TAKEN_OVER = b"\xe0\x01\x8e"
_LEVEL_5 = b"\x00\x04MQTT\x05"

Refusal = Literal["connack", "hang up"]


class TcpProxy:
    """Forwards to a port of this machine.

    Args:
        port: Of the broker.
        refuse_5: How to refuse a CONNECT of MQTT 5; None to let it through.
    """

    def __init__(self, port: int, *, refuse_5: Refusal | None = None) -> None:
        self._target_port = port
        self._refuse_5 = refuse_5
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.num_connects = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.close()
        self.reset()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def reset(self) -> None:
        """Cut every connection with a TCP reset, as a failing network does."""
        for writer in list(self._writers):
            sock = writer.get_extra_info("socket")
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    def say_taken_over(self) -> None:
        """Send what newer brokers send to a client whose session another has taken over."""
        for writer in list(self._writers):
            writer.write(_DISCONNECT_TAKEN_OVER)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.num_connects += 1
        with suppress(OSError):
            hello = await reader.read(4096)
            if self._refuse_5 is not None and _LEVEL_5 in hello:
                if self._refuse_5 == "connack":
                    writer.write(_CONNACK_OLD_REFUSAL)
                    await writer.drain()
                writer.close()
                return
            await self._forward(hello, reader, writer)

    async def _forward(
        self, hello: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        broker_reader, broker_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        broker_writer.write(hello)
        writers = {writer, broker_writer}
        self._writers |= writers
        copies = [_copy(reader, broker_writer), _copy(broker_reader, writer)]
        try:
            await asyncio.gather(*copies)
        finally:
            self._writers -= writers


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
