"""A process that floods a port with HTTP requests until its input ends: `python -m … PORT KIND`.

Kinds: `health` (answered), `guesses` (wrong tokens through a proxy), `paths` (refused), `bodies`
(too large), `connections` (one request each). Prints how many answers it got.
"""

import asyncio
import sys

_NUM_CONNECTIONS = 20
_BODY = b"a" * (256 << 10)
_HEAD = b"Host: localhost\r\n"

KINDS = {
    "health": b"GET /health HTTP/1.1\r\n" + _HEAD + b"\r\n",
    "guesses": b"GET /health/x HTTP/1.1\r\n"
    + _HEAD
    + b"X-Forwarded-For: 1.2.3.4\r\nX-API-Key: guess\r\n\r\n",
    "paths": b"GET /a/%2e%2e/b HTTP/1.1\r\n" + _HEAD + b"\r\n",
    "bodies": b"POST /queue/clear HTTP/1.1\r\n"
    + _HEAD
    + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(_BODY)
    + _BODY,
    "connections": b"GET /livez HTTP/1.1\r\nConnection: close\r\n" + _HEAD + b"\r\n",
}


async def _flood(port: int, request: bytes, count: list[int]) -> None:
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                while True:
                    writer.write(request)
                    await writer.drain()
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]
                    await reader.readexactly(int(length or 0))
                    count[0] += 1
            finally:
                writer.close()
        except (OSError, EOFError):
            await asyncio.sleep(0)


async def _main(port: int, kind: str) -> None:
    count = [0]
    tasks = [asyncio.create_task(_flood(port, KINDS[kind], count)) for _ in range(_NUM_CONNECTIONS)]
    await asyncio.to_thread(sys.stdin.read)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    print(count[0])  # noqa: T201 - read by the test


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), sys.argv[2]))
