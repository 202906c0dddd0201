"""HTTP receivers that send as fast as they are read what costs its reader more than it says.

Run as `python -m tests.support.flooding_receiver KIND PORTS`: a process of its own, so that what it
costs is not counted against the event loop under test. Prints its ports as JSON.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_OK = b"HTTP/1.1 200 OK\r\n"
_CHUNKED = _OK + b"Transfer-Encoding: chunked\r\n\r\n"

#: What is sent first, and what then without end.
FLOODS: dict[str, tuple[bytes, bytes]] = {
    "informational": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 2600),
    "early hints": (b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 1600),
    "headers": (_OK, b"a:b\r\n" * 13000),
    "cookies": (_OK, b"Set-Cookie: a=b; expires=Wed, 21 Oct 2015 07:28:00 GMT\r\n" * 1100),
    "one header": (_OK + b"X-Long: ", b"a" * 65536),
    "chunks": (_CHUNKED, b"1\r\nX\r\n" * 11000),
    "chunk extension": (_CHUNKED + b"1;a=", b"a" * 65536),
    "trailers": (_CHUNKED + b"0\r\n", b"a:\n" * 22000),
}


@contextmanager
def flooding(kind: str, num_ports: int = 1) -> Iterator[list[int]]:
    """Receivers in another process; their ports."""
    command = [sys.executable, "-m", "tests.support.flooding_receiver", kind, str(num_ports)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.kill()


async def _flood(kind: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    first, rest = FLOODS[kind]
    try:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(first)
        while True:
            writer.write(rest)
            await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        writer.close()


async def _main(kind: str, num_ports: int) -> None:
    servers = [
        await asyncio.start_server(lambda *peer: _flood(kind, *peer), "127.0.0.1", 0)
        for _ in range(num_ports)
    ]
    print(json.dumps([server.sockets[0].getsockname()[1] for server in servers]), flush=True)  # noqa: T201 - how the test learns them
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], int(sys.argv[2])))
