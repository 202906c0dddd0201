"""Around a run: a broker, the service, a listener on everything, and the server URLs lead to."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from broker.embedded import BrokerProgram, EmbeddedBroker
from tests.hostile.case import BASE, CONFIGURED, SECRET
from tests.hostile.families.urls import WILDCARD
from tests.hostile.listener import Listener
from tests.hostile.server import HOOK, hostile_server, shaped_by_senders
from tests.hostile.wire import Publication, RawClient
from tests.support.faulty_service import NO_FAULTS
from tests.support.harness import Service
from tests.support.http_receivers import Receiver

# What a run may add to the service and to its engine, at any moment. Frames of 4 MiB add 110 MiB to
# the service, however many come (16 MiB in flight, and their copies); pictures 150 to the engine.
_MOST_OF_SERVICE = 160 << 20
_MOST_OF_ENGINE = 160 << 20
#: What has no place in a log.
_SIGNS = {
    SECRET: "a secret",
    "Traceback": "an unexpected error",
    "/9j/4": "an image",
    "\\xff\\xd8": "an image",
}


@dataclass(slots=True)
class Lab:
    """What a run needs; the service runs."""

    broker: EmbeddedBroker
    listener: Listener
    server: Receiver
    service: Service
    engine: int  #: pid
    memory: tuple[int, int]  #: bytes of service and engine at first

    def problems(self) -> list[str]:
        """What the run has done to the service, or made it do."""
        if not self.service.is_running:
            return [f"the service ended: {self.service.log[-2000:]}"]
        return [
            *(f"a secret was published on {each}" for each in self.listener.leaks),
            *shaped_by_senders(self.server),
            *self._in_log(),
            *self._in_processes(),
        ]

    def _in_log(self) -> list[str]:
        problems = []
        lines = self.service.log.splitlines()
        for number, line in enumerate(lines):
            for sign, meaning in _SIGNS.items():
                if sign in line:
                    shown = " | ".join(lines[max(0, number - 1) : number + 1])
                    problems.append(f"{meaning} in line {number + 1} of the log: {shown[:400]}")
            if line.startswith("FORGED"):
                problems.append(f"line {number + 1} of the log was forged")
        return problems

    def _in_processes(self) -> list[str]:
        problems = []
        if engines := _engines(self.service) ^ {self.engine}:
            problems.append(f"the engine was started again: {sorted(engines)}")
        grown = peak(self.service.pid) - self.memory[0]
        if grown > _MOST_OF_SERVICE:
            problems.append(f"the service grew by {grown >> 20} MiB")
        if not engines and (grown := peak(self.engine) - self.memory[1]) > _MOST_OF_ENGINE:
            problems.append(f"the engine grew by {grown >> 20} MiB")
        return problems


@asynccontextmanager
async def a_lab(
    folder: Path, early: Sequence[Publication], program: BrokerProgram | None = None
) -> AsyncIterator[Lab]:
    """Start everything.

    Args:
        folder: Empty.
        early: Published before the service is there.
        program: The broker; None for the one that is installed.
    """
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(
            EmbeddedBroker(
                folder / "broker", program=program, extra_lines=("max_queued_messages 100000",)
            )
        )
        listener = await stack.enter_async_context(Listener(broker.port))
        server = await stack.enter_async_context(hostile_server())
        async with RawClient(broker.port, "5", "early") as sender:
            for publication in early:
                listener.expect(publication.topic, publication.payload)
                await sender.publish(publication)
        service = await stack.enter_async_context(
            Service(
                folder / "service",
                broker.port,
                BASE,
                settings=_settings(server.port),
                plan=NO_FAULTS.with_decoder(),
            )
        )
        await service.start()
        [engine] = _engines(service)
        memory = _memory(service.pid), _memory(engine)
        yield Lab(broker, listener, server, service, engine, memory)


def _settings(port: int) -> dict[str, dict[str, Any]]:
    """With a secret wherever one can stand."""
    allowed = [f"127.0.0.1:{port}", WILDCARD]
    return {
        "mqtt": {"username": "moondream2mqtt", "password": SECRET},
        "webhooks": {"secret": f"whsec_{SECRET}", "allow_hosts": allowed, "timeout": 2.0},
        "fetch": {"allow_hosts": allowed, "timeout": 2.0},
        "dedupe": {"window": 0.0},
        "queue": {"patience": 1.0},  # or frames of little motion would wait for the end of the run
        "logging": {"level": "debug"},
        "cameras": {
            CONFIGURED: {
                "webhook_url": f"http://user:{SECRET}@127.0.0.1:{port}{HOOK}?key={SECRET}",
                "webhook_headers": {"X-Token": SECRET},
            }
        },
    }


def _engines(service: Service) -> set[int]:
    return {child.pid for child in psutil.Process(service.pid).children()}


def _memory(pid: int) -> int:
    """Bytes."""
    rss: int = psutil.Process(pid).memory_info().rss
    return rss


def peak(pid: int) -> int:
    """Bytes, at most so far; where the system does not say, those of now."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return _memory(pid)
    lines = status.read_text(encoding="ascii").splitlines()
    [line] = [line for line in lines if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024
