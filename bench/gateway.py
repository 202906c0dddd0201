"""What does HTTP take and give beside MQTT: frames a second, latency, readers, connections?

The engine is a stand-in. Exits with 1 where a goal is missed.
"""

import argparse
import asyncio
import base64
import json
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiomqtt
import psutil

from bench._beside import (
    BAD_PER_S,
    FRAMES_PER_S,
    LOOKS_PER_S,
    NUM_BYTES,
    NUM_IDLE,
    NUM_SLOW,
    NUM_UNREAD,
    beside,
)
from bench._http import HttpClient
from bench._load import ServiceChild, broker, frames, service
from bench._machine import describe, percentile
from bench._standin import Pace
from bench.intake import fill

ENGINE_S = 0.02
#: At once, each with its own frame: of the first as many as MQTT's frames on their way, of which
#: the broker has a hundred without PUBACK; of the second as many as a larger house has cameras.
NUM_POSTING, NUM_CAMERAS = 100, 16
_WARM = 100  #: frames whose computing is not counted
_BASE = "moondream2mqtt"
_TOKEN = "of-the-benchmark-of-the-benchmark"  # noqa: S105 - for who comes through a proxy
_SLOW = Pace(step_s=60.0)  # the engine takes no time away

_SHARE_GOAL = 0.8
_ADDED_GOAL_MS = 10.0
_CRITICAL_GOAL = 1.2
#: What is held against it. Who posts sound frames has them captioned, and a critical one waits for
#: the step that the engine has begun: that is no matter of HTTP, and left out of the first.
_CRITICAL_GOALS = ("beside frames, engine as free", "beside bad input")
_LOADS = (
    f"{FRAMES_PER_S} posted frames of 100 KB and {LOOKS_PER_S} looks at /queue/stats a second",
    f"{BAD_PER_S} bad requests a second, {NUM_IDLE} idle connections, {NUM_SLOW} slow bodies and "
    f"{NUM_UNREAD} readers that do not read",
)


class Goals:
    """What was to be reached."""

    def __init__(self) -> None:
        self.missed: list[str] = []

    def hold(self, what: str, is_reached: bool) -> str:
        """Note a goal; a word for the line that tells it."""
        if not is_reached:
            self.missed.append(what)
        return f"{what}: {'reached' if is_reached else 'MISSED'}"


@asynccontextmanager
async def serving(
    broker_port: int, pace: Pace, **settings: Any
) -> AsyncIterator[tuple[ServiceChild, int]]:
    """The service with its gateway, and its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    http = {"enabled": True, "port": port, "max_in_flight": 1000, "token": _TOKEN}
    with tempfile.TemporaryDirectory() as folder:
        async with service(broker_port, Path(folder), pace, http=http, **settings) as child:
            await child.wait_for("ready")
            await _until_listening(port)
            yield child, port
            await child.end()


async def _until_listening(port: int) -> None:
    async with asyncio.timeout(30):
        while True:
            with suppress(ConnectionError):
                async with HttpClient(port) as client:
                    await client.ask("/livez")
                    return
            await asyncio.sleep(0.05)


# -- frames in -----------------------------------------------------------------------------------


async def measure_frames(num_frames: int, goals: Goals) -> None:
    """202 answers a second beside what MQTT commits."""
    pictures = frames(NUM_BYTES)
    committed, answered, of_house = [], [], []
    for _ in range(2):
        committed.append(await _commit(pictures, num_frames))
        answered.append(await _post(pictures, num_frames, NUM_POSTING))
        of_house.append(await _post(pictures, num_frames, NUM_CAMERAS))
    mqtt, http, house = max(committed), max(answered), max(of_house)
    share = http[0] / mqtt[0]
    print(
        f"{num_frames} frames of 100 KB, the better of two: {_told(mqtt)} committed over MQTT; "
        f"{_told(http)} answered with 202 over {NUM_POSTING} connections, {share:.2f} × "
        f"({goals.hold('202 ≥ 0.8 × MQTT', share >= _SHARE_GOAL)}); {_told(house)} over "
        f"{NUM_CAMERAS}, {house[0] / mqtt[0]:.2f} ×"
    )


def _told(found: tuple[float, float]) -> str:
    return f"{found[0]:.0f}/s ({found[1] * 1e3:.2f} ms of computing each)"


async def _commit(pictures: Iterator[bytes], num_frames: int) -> tuple[float, float]:
    """Frames that come from a session that filled while the service was away.

    Returns:
        How many a second, and seconds of computing for each.
    """
    settings = {"queue": {"capacity": num_frames}}
    with tempfile.TemporaryDirectory() as folder:
        async with broker() as running:
            async with service(running.port, Path(folder), Pace(), **settings) as child:
                await child.wait_for("ready")
                await asyncio.sleep(1.0)
                await child.end()
            await fill(running.port, pictures, num_frames)
            async with service(running.port, Path(folder), _SLOW, **settings) as child:
                early = await child.wait_for("committed", num=_WARM)
                before = _computed(child)
                said = await child.wait_for("committed", num=num_frames // 100 * 100)
                computed = (_computed(child) - before) / (said["num"] - early["num"])
                await child.end()
    return float(said["num"] / (said["at"] - said["first_at"])), computed


async def _post(
    pictures: Iterator[bytes], num_frames: int, num_posting: int
) -> tuple[float, float]:
    """Frames that are posted and answered, as `_commit` tells them."""
    settings = {"queue": {"capacity": num_frames}}
    waiting = [next(pictures) for _ in range(num_frames)]
    computed_before = 0.0

    async def post(client: HttpClient) -> None:
        nonlocal computed_before
        while waiting:
            if len(waiting) == num_frames - _WARM:
                computed_before = _computed(child)
            status, body = await client.ask(
                "/motion/detect?camera_id=front", waiting.pop(), "image/jpeg"
            )
            assert status == 202, body

    async with (
        broker() as running,
        serving(running.port, _SLOW, **settings) as (child, port),
        AsyncExitStack() as stack,
    ):
        clients = [await stack.enter_async_context(HttpClient(port)) for _ in range(num_posting)]
        began = time.perf_counter()
        await asyncio.gather(*(post(each) for each in clients))
        took = time.perf_counter() - began
        return num_frames / took, (_computed(child) - computed_before) / (num_frames - _WARM)


def _computed(child: ServiceChild) -> float:
    """Seconds of computing so far."""
    times = psutil.Process(child.pid).cpu_times()
    return float(times.user + times.system)


# -- one answer ----------------------------------------------------------------------------------


async def measure_caption(num_frames: int, goals: Goals) -> None:
    """A caption that is waited for, over HTTP and as a request over MQTT, in turns."""
    pictures = frames(NUM_BYTES)
    http, mqtt = [], []
    async with (
        broker() as running,
        serving(running.port, Pace(step_s=ENGINE_S)) as (_, port),
        HttpClient(port) as client,
        aiomqtt.Client("127.0.0.1", running.port) as asking,
    ):
        await asking.subscribe(f"{_BASE}/bridge/response/caption", qos=1)
        for number in range(num_frames + 10):
            data, other = (base64.b64encode(next(pictures)).decode() for _ in range(2))
            took = await _ask_http(client, json.dumps({"frame_data": data}).encode())
            request = json.dumps({"frame_data": other, "camera_id": "http"})
            also = await _ask_mqtt(asking, request)
            if number >= 10:
                http.append(took)
                mqtt.append(also)
            await asyncio.sleep(0.02)
    one, beside = percentile(http, 50) * 1e3, percentile(mqtt, 50) * 1e3
    print(
        f"caption of a frame of 100 KB, engine of {ENGINE_S * 1e3:.0f} ms, {num_frames} in turns: "
        f"HTTP p50 {one:.1f} ms, p95 {percentile(http, 95) * 1e3:.1f} ms; request over MQTT p50 "
        f"{beside:.1f} ms, p95 {percentile(mqtt, 95) * 1e3:.1f} ms; added {one - beside:+.1f} ms "
        f"({goals.hold('added ≤ 10 ms', one - beside <= _ADDED_GOAL_MS)})"
    )


async def _ask_http(client: HttpClient, body: bytes) -> float:
    began = time.perf_counter()
    status, answer = await client.ask("/caption", body)
    assert status == 200, answer
    return time.perf_counter() - began


async def _ask_mqtt(client: aiomqtt.Client, request: str) -> float:
    began = time.perf_counter()
    await client.publish(f"{_BASE}/bridge/request/caption", request, qos=1)
    message = await anext(aiter(client.messages))
    took = time.perf_counter() - began
    assert isinstance(message.payload, bytes)
    assert json.loads(message.payload)["status"] == "ok", message.payload[:200]
    return took


# -- readers and connections ---------------------------------------------------------------------


async def measure_readers(num_readers: int, num_frames: int) -> None:
    """From the caption over MQTT to the last of many who read `/events`."""
    pictures = frames(NUM_BYTES)
    seen: dict[str, list[float]] = {}
    async with (
        broker() as running,
        serving(running.port, Pace(step_s=ENGINE_S)) as (child, port),
        aiomqtt.Client("127.0.0.1", running.port) as client,
        AsyncExitStack() as stack,
    ):
        before = _rss_mib(child)
        readers = [await stack.enter_async_context(HttpClient(port)) for _ in range(num_readers)]
        for each in readers:
            await each.send("/events?types=result")
        tasks = [asyncio.create_task(_read(each, seen)) for each in readers]
        await asyncio.sleep(1.0)
        await client.subscribe(f"{_BASE}/front/caption", qos=1)
        late = []
        for number in range(num_frames):
            fields = {"job_id": f"bench-{number}", "priority": "normal"}
            data = base64.b64encode(next(pictures)).decode()
            await client.publish(
                f"{_BASE}/front/frame", json.dumps({**fields, "frame_data": data}), qos=1
            )
            await anext(aiter(client.messages))
            heard = time.perf_counter()
            with suppress(TimeoutError):
                async with asyncio.timeout(5):
                    while len(seen.get(f"bench-{number}", ())) < num_readers:  # noqa: ASYNC110
                        await asyncio.sleep(0.001)
                    late.append(max(seen[f"bench-{number}"]) - heard)
        memory = _rss_mib(child) - before
        for task in tasks:
            task.cancel()
    print(
        f"{num_readers} readers of /events, {num_frames} captions: {len(late)} reached all; the "
        f"last reader p50 {percentile(late, 50) * 1e3:.1f} ms, p95 "
        f"{percentile(late, 95) * 1e3:.1f} ms after a subscriber over MQTT; {memory:+.0f} MiB"
    )


async def _read(client: HttpClient, seen: dict[str, list[float]]) -> None:
    while line := await client.reader.readline():
        if line.startswith(b"data:") and (at := line.find(b'"bench-')) >= 0:
            job_id = line[at + 1 : line.index(b'"', at + 1)].decode()
            seen.setdefault(job_id, []).append(time.perf_counter())


async def measure_connections(num: int) -> None:
    """Memory for connections that do nothing."""
    async with broker() as running, serving(running.port, _SLOW) as (child, port):
        async with HttpClient(port) as client:
            await client.ask("/livez")
        before = _rss_mib(child)
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(HttpClient(port)) for _ in range(num)]
            await asyncio.sleep(1.0)
            fresh = _rss_mib(child) - before
            for each in clients:
                with suppress(asyncio.IncompleteReadError, ConnectionError):
                    await each.ask("/livez")
            used = _rss_mib(child) - before
        print(
            f"{num} idle connections: {fresh:+.1f} MiB, after a request on each {used:+.1f} MiB "
            f"({used * 1024 / num:.0f} KiB each)"
        )


def _rss_mib(child: ServiceChild) -> float:
    return float(psutil.Process(child.pid).memory_info().rss) / (1 << 20)


# -- beside HTTP ---------------------------------------------------------------------------------


@dataclass
class Critical:
    """Critical frames, each after the one before: seconds from publish to caption."""

    took: list[float] = field(default_factory=list)
    in_engine: list[float] = field(default_factory=list)

    @property
    def p50(self) -> float:
        """Seconds."""
        return percentile(self.took, 50)

    @property
    def outside(self) -> float:
        """Seconds that were not the engine's, which may have others in work."""
        pairs = zip(self.took, self.in_engine, strict=True)
        return percentile([took - engine for took, engine in pairs], 50)

    def __str__(self) -> str:
        ms = [self.p50, percentile(self.took, 95), percentile(self.in_engine, 50)]
        p50, p95, engine = (f"{each * 1e3:.1f}" for each in ms)
        return f"p50 {p50} ms ({engine} in the engine), p95 {p95} ms, {len(self.took)} frames"


async def measure_critical(seconds: float, goals: Goals) -> None:
    """Critical frames over MQTT one after the other, alone and beside HTTP, in turns."""
    pictures = frames(NUM_BYTES)
    alone, beside_frames, beside_bad = Critical(), Critical(), Critical()
    loads = (("frames", beside_frames, Counter[str]()), ("bad", beside_bad, Counter[str]()))
    async with (
        broker() as running,
        serving(running.port, Pace(step_s=ENGINE_S)) as (_, port),
        aiomqtt.Client("127.0.0.1", running.port) as client,
    ):
        await client.subscribe(f"{_BASE}/critical/caption", qos=1)
        await _critical(client, pictures, 1.0, Critical())
        for _ in range(3):
            for kind, critical, counts in loads:
                await _critical(client, pictures, seconds / 6, alone)
                async with beside(port, kind) as came:
                    await _critical(client, pictures, seconds / 3, critical)
                counts.update(came)
                await asyncio.sleep(0.5)
    print(f"critical frames over MQTT alone: {alone}")
    for (_, critical, counts), text, goal in zip(loads, _LOADS, _CRITICAL_GOALS, strict=True):
        ratio = critical.p50 / alone.p50
        as_free = 1 + (critical.outside - alone.outside) / alone.p50
        held = ratio if goal == _CRITICAL_GOALS[-1] else as_free
        wrong = sum(number for name, number in counts.items() if name.endswith("WRONG"))
        print(
            f"  beside {text}: {critical}: {ratio:.2f} ×; outside the engine "
            f"{(critical.outside - alone.outside) * 1e3:+.1f} ms, so with an engine as free as "
            f"alone {as_free:.2f} × "
            f"({goals.hold(f'critical p50 ≤ {_CRITICAL_GOAL} × {goal}', held <= _CRITICAL_GOAL)}); "
            f"{counts.total()} answers ({goals.hold('none wrong', wrong == 0)})"
        )


async def _critical(
    client: aiomqtt.Client, pictures: Iterator[bytes], seconds: float, critical: Critical
) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        data = base64.b64encode(next(pictures)).decode()
        frame = json.dumps({"frame_data": data, "priority": "critical"})
        began = time.perf_counter()
        await client.publish(f"{_BASE}/critical/frame", frame, qos=1)
        message = await anext(aiter(client.messages))
        critical.took.append(time.perf_counter() - began)
        assert isinstance(message.payload, bytes)
        critical.in_engine.append(json.loads(message.payload)["result"]["processing_time"])
        await asyncio.sleep(0.05)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--captions", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=9.0, help="of critical frames")
    parser.add_argument(
        "--only", default="", help="frames, caption, readers, connections, critical"
    )
    arguments = parser.parse_args()
    goals = Goals()
    parts: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
        "frames": lambda: measure_frames(arguments.frames, goals),
        "caption": lambda: measure_caption(arguments.captions, goals),
        "readers": lambda: measure_readers(200, arguments.captions),
        "connections": lambda: measure_connections(1000),
        "critical": lambda: measure_critical(arguments.seconds, goals),
    }
    print(describe())
    for name, measure in parts.items():
        if not arguments.only or name in arguments.only.split(","):
            asyncio.run(measure())
    if goals.missed:
        sys.exit(1)


if __name__ == "__main__":
    main()
