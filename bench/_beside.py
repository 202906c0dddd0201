"""What a gateway has to bear while something else is measured: `python -m bench._beside PORT KIND`.

A process of its own, so that it takes its share of the machine as a stranger does, and none of the
event loop that measures. `frames`: a house that posts a lot, and a page that looks twice a second
from each of fifty screens. `bad`: nothing that is accepted. Ends with its input, and prints how
often each kind of request had which answer.
"""

import asyncio
import io
import itertools
import json
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from PIL import Image

from bench._http import HttpClient
from bench._load import frames

NUM_BYTES = 100_000
FRAMES_PER_S, LOOKS_PER_S = 30, 100
BAD_PER_S = 100
NUM_IDLE, NUM_SLOW, NUM_UNREAD = 200, 5, 5

_NUM_WORKERS = 10
_ANSWER_S = 5.0
_SLOW_BYTES, _SLOW_S = 100, 0.1

Counts = Counter[str]


@asynccontextmanager
async def beside(port: int, kind: str) -> AsyncIterator[Counts]:
    """The load while the block lasts; what came of it is there afterwards."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench._beside", str(port), kind), stdin=-1, stdout=-1
    )
    assert process.stdin is not None and process.stdout is not None
    counts = Counts()
    try:
        await process.stdout.readline()  # all has begun
        yield counts
    finally:
        process.stdin.close()
        counts.update(json.loads(await process.stdout.readline() or "{}"))
        await process.wait()


# -- what is accepted ----------------------------------------------------------------------------


async def _post_and_look(port: int, counts: Counts) -> None:
    pictures = list(itertools.islice(frames(NUM_BYTES), 40))
    numbers = itertools.count(random.getrandbits(48))

    async def post(client: HttpClient) -> None:
        number = next(numbers)
        picture = pictures[number % len(pictures)]
        unique = picture[:2] + b"\xff\xfe\0\x0a" + number.to_bytes(8, "big") + picture[2:]
        path = "/motion/detect?camera_id=posted&priority=low"
        counts[f"frame {(await client.ask(path, unique, 'image/jpeg'))[0]}"] += 1

    async def look(client: HttpClient) -> None:
        counts[f"look {(await client.ask('/queue/stats'))[0]}"] += 1

    async with HttpClient(port) as posting, HttpClient(port) as looking:
        await asyncio.gather(
            _paced(lambda: post(posting), FRAMES_PER_S), _paced(lambda: look(looking), LOOKS_PER_S)
        )


async def _paced(do: Callable[[], Awaitable[None]], per_s: float) -> None:
    """At a set pace, and no faster after a pause."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        await do()
        due = max(due + 1 / per_s, loop.time() - 0.1)
        await asyncio.sleep(max(0.0, due - loop.time()))


# -- what is not ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Bad:
    """A request that is refused."""

    codes: frozenset[int]  #: right ones; empty: the connection is cut before there is an answer
    make: Callable[[int], bytes]


def _request(line: str, *headers: str, body: bytes = b"", host: str = "127.0.0.1") -> bytes:
    lines = [f"{line} HTTP/1.1", f"Host: {host}", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join((*lines, "", "")).encode() + body


def _png_bomb() -> bytes:
    """400 million points in 50 KB."""
    buffer = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(buffer, "PNG")
    return buffer.getvalue()


_JSON = "Content-Type: application/json"
_JPEG = "Content-Type: image/jpeg"
_FRAME = "POST /motion/detect?camera_id=bad"
_LARGE = b"%x\r\n" % (300 << 10) + b" " * (300 << 10) + b"\r\n0\r\n\r\n"
_WRONG = b'{"camera_id": "bad", "frame_data": ["x"], "priority": {"a": 1}, "metadata": 7}'


def _guess(number: int) -> bytes:
    proxy = f"X-Forwarded-For: 203.0.113.{number % 250}"
    return _request("GET /queue/stats", proxy, f"X-API-Key: guess-{number}")


def _same(request: bytes) -> Callable[[int], bytes]:
    return lambda _: request


def _bad(request: bytes, *codes: int) -> _Bad:
    return _Bad(frozenset(codes), _same(request))


_BAD = {
    "too large, announced": _bad(_request(_FRAME, _JPEG, f"Content-Length: {1 << 30}"), 413),
    "too large, unannounced": _bad(
        _request("POST /queue/clear", _JSON, "Transfer-Encoding: chunked") + _LARGE, 413
    ),
    "cut": _bad(_request(_FRAME, _JPEG, "Content-Length: 50000") + b"\xff\xd8" * 500),
    "wrong types": _bad(_request("POST /motion/detect", _JSON, body=_WRONG), 400),
    "deep JSON": _bad(_request("POST /motion/detect", _JSON, body=b"[" * 100_000), 400),
    "picture bomb": _bad(_request(_FRAME, "Content-Type: image/png", body=_png_bomb()), 422),
    "no picture": _bad(_request(_FRAME, _JPEG, body=b"\xff\xd8" + bytes(20_000)), 415),
    "compressed": _bad(_request(_FRAME, _JPEG, "Content-Encoding: gzip", body=b"x" * 99), 415),
    "wrong kind": _bad(_request(_FRAME, "Content-Type: text/plain", body=b"hello"), 415),
    "guess": _Bad(frozenset({401, 429}), _guess),
    "forged host": _bad(_request("GET /health", host="evil.example"), 421),
    "forged origin": _bad(
        _request("POST /queue/clear", _JSON, "Origin: http://evil.example", body=b"{}"), 403
    ),
    "dots": _bad(_request("GET /media/../../etc/passwd"), 404),
    "encoded dots": _bad(_request("GET /a/%2e%2e/%2e%2e/etc/passwd"), 404),
    "nothing there": _bad(_request("GET /wp-login.php"), 404),
    "wrong method": _bad(_request("DELETE /motion/detect"), 405),
    "noise": _bad(bytes(range(1, 200)) + b"\r\n\r\n", 400),
    "two lengths": _bad(_request(_FRAME, _JPEG, "Content-Length: 5", "Content-Length: 6"), 400),
}


async def _send_bad(port: int, counts: Counts) -> None:
    standing = (
        *(_stay_idle(port) for _ in range(NUM_IDLE)),
        *(_send_slowly(port) for _ in range(NUM_SLOW)),
        *(_never_read(port) for _ in range(NUM_UNREAD)),
    )
    numbers = itertools.count(random.getrandbits(20))

    async def send() -> None:
        number = next(numbers)
        name = list(_BAD)[number % len(_BAD)]
        counts[f"{name} {await _answer(port, _BAD[name], number)}"] += 1

    pace = BAD_PER_S / _NUM_WORKERS
    await asyncio.gather(*standing, *(_paced(send, pace) for _ in range(_NUM_WORKERS)))


async def _answer(port: int, bad: _Bad, number: int) -> str:
    """Send one on a connection of its own; its code, with a mark where that is a wrong one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(bad.make(number))
        if not bad.codes:
            await writer.drain()
            return "cut"
        async with asyncio.timeout(_ANSWER_S):
            code = int((await reader.readuntil(b"\r\n"))[9:12])
            return f"{code}" if code in bad.codes else f"{code} WRONG"
    except (TimeoutError, OSError, EOFError) as error:
        return f"{type(error).__name__} WRONG"
    finally:
        writer.close()


async def _stay_idle(port: int) -> None:
    while True:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            await reader.read()
            writer.close()
        await asyncio.sleep(1.0)


async def _send_slowly(port: int) -> None:
    while True:
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(_request(_FRAME, _JPEG, f"Content-Length: {1 << 20}"))
            while not writer.is_closing():
                writer.write(bytes(_SLOW_BYTES))
                await asyncio.sleep(_SLOW_S)
        await asyncio.sleep(1.0)


async def _never_read(port: int) -> None:
    while True:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
            writer.write(_request("GET /events"))
            await asyncio.sleep(60.0)
            del reader
            writer.close()


_KINDS = {"frames": _post_and_look, "bad": _send_bad}


async def _main(port: int, kind: str) -> None:
    counts = Counts()
    task = asyncio.create_task(_KINDS[kind](port, counts), name=kind)
    await asyncio.sleep(1.0)
    print(flush=True)
    await asyncio.to_thread(sys.stdin.read)
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error
    print(json.dumps(counts), flush=True)


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), sys.argv[2]))
