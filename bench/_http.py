"""An HTTP client that costs little: what it takes itself is missing in what it measures."""

import asyncio
from types import TracebackType
from typing import Self


class HttpClient:
    """One connection that is kept.

    Args:
        port: On this machine.
    """

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Self:
        self.reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._writer.close()

    async def send(self, path: str, body: bytes = b"", kind: str = "application/json") -> None:
        """Send a request: GET without a body, POST with one."""
        lines = [f"{'POST' if body else 'GET'} {path} HTTP/1.1", "Host: 127.0.0.1"]
        if body:
            lines += [f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
        self._writer.write("\r\n".join((*lines, "", "")).encode())
        if body:
            self._writer.write(body)
        await self._writer.drain()

    async def ask(
        self, path: str, body: bytes = b"", kind: str = "application/json"
    ) -> tuple[int, bytes]:
        """Send a request, and read its answer: status and body."""
        await self.send(path, body, kind)
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.partition("content-length:")[2].partition("\r")[0])
        return int(head[9:12]), await self.reader.readexactly(length)
