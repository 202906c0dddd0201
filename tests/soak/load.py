"""Hours of load, crashes and restarts: is anything lost, and does memory stay flat?

Cameras send frames to a real service with a real broker and a real database, while it is killed,
stopped, and its broker and engine with it; floods and hostile messages come on top. The checker of
the acceptance tests counts from outside. In the last third of the time the service is left to live,
so that its memory can be followed.
"""

import asyncio
import random
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from broker.embedded import EmbeddedBroker
from tests.soak.hostile import Harasser
from tests.soak.memory import sparkline
from tests.soak.site import MOST_OPEN, open_site
from tests.support.cameras import Cameras
from tests.support.checker import Checker, Verdict
from tests.support.harness import Service

_REPORT_S = 30.0
_MIB = 1 << 20
_SHARE_WITH_KILLS = 2 / 3
_MEAN_PAUSE_S = 8.0  # between two things that go wrong
_FLOOD = 400  # more than the queue holds, so that frames are dropped
_HOSTILE_RATE = 5.0  # messages a second
# In a thousand frames; the rest are ordinary. See `tests.support.quick_engine`.
_ORDERS = {"crash": 2, "flaky": 5, "fail": 5, "poison": 1, "memory": 1, "hang": 0.5}


@dataclass(frozen=True, slots=True)
class _Sample:
    """The service at a moment."""

    life: int
    rss_mib: float
    num_files: int


@dataclass(slots=True)
class _Soak:
    """A run."""

    rng: random.Random
    seconds: float
    rate: float
    broker: EmbeddedBroker
    checker: Checker
    cameras: Cameras
    service: Service
    began: float = field(default_factory=time.monotonic)
    events: Counter[str] = field(default_factory=Counter)
    samples: list[_Sample] = field(default_factory=list)

    @property
    def num_broken(self) -> int:
        """Messages that broke who read them."""
        return sum(each["error"]["code"] == "internal" for each in self.checker.dead_letters)

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.began

    async def run(self) -> Verdict:
        await self.service.start()
        tasks = [
            asyncio.create_task(work(), name=work.__name__)
            for work in (self._send, self._break, self._harass, self._report)
        ]
        done, _ = await asyncio.wait(tasks[:3], return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
        await self.cameras.all_accepted()
        if not self.service.is_running:
            await self.service.start()
        verdict = await self.checker.all_ended()
        tasks[3].cancel()
        self._look()
        return verdict

    async def _send(self) -> None:
        """Frames at random moments, mostly ordinary ones."""
        while self.elapsed < self.seconds:
            await asyncio.sleep(self.rng.expovariate(self.rate))
            if self.checker.num_open < MOST_OPEN:
                self._send_one(self.rng.choice(("low", "normal", "normal", "high", "critical")))

    def _send_one(self, priority: str) -> None:
        prefixes = ["job", *_ORDERS]
        weights = [1000 - sum(_ORDERS.values()), *_ORDERS.values()]
        [prefix] = self.rng.choices(prefixes, weights)
        self.cameras.send(self.cameras.frame(prefix, priority=priority))

    async def _harass(self) -> None:
        """Messages that mean no good, beside everything else."""
        harasser = Harasser(self.broker.port, "soak", self.rng.randrange(1 << 30))
        while self.elapsed < self.seconds:
            await asyncio.sleep(self.rng.expovariate(_HOSTILE_RATE))
            await harasser.send_one()
            self.events["hostile message"] = harasser.num_sent

    async def _break(self) -> None:
        """One thing after the other goes wrong."""
        on_service: list[Callable[[], Awaitable[None]]] = [self._kill, self._kill, self._stop]
        others: list[Callable[[], Awaitable[None]]] = [
            self._restart_broker,
            self._kill_engine,
            self._kill_engine,
            self._flood,
            self._flood,
        ]
        while self.elapsed < self.seconds:
            await asyncio.sleep(min(self.rng.expovariate(1 / _MEAN_PAUSE_S), 5 * _MEAN_PAUSE_S))
            may_end = self.elapsed < self.seconds * _SHARE_WITH_KILLS
            trouble = self.rng.choice(on_service + others if may_end else others)
            self.events[trouble.__name__.strip("_").replace("_", " ")] += 1
            await trouble()
            if not self.service.is_running:
                raise RuntimeError(f"the service ended by itself: {self.service.log[-2000:]}")

    async def _kill(self) -> None:
        await self.service.kill()
        # Now and then it does not live to be ready either.
        await self.service.start(is_awaited=self.rng.random() < 0.8)

    async def _stop(self) -> None:
        self.service.signal()
        await self.service.ended()
        await self.service.start()

    async def _restart_broker(self) -> None:
        await self.broker.stop()
        await asyncio.sleep(self.rng.uniform(0.0, 3.0))
        await self.broker.start()

    async def _kill_engine(self) -> None:
        for child in psutil.Process(self.service.pid).children():
            with suppress(psutil.NoSuchProcess):
                child.kill()

    async def _flood(self) -> None:
        for _ in range(_FLOOD):
            self.cameras.send(self.cameras.frame("flood", priority="low"))
            await asyncio.sleep(0)

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(_REPORT_S)
            self._look()
            verdict, sample = self.checker.verdict(), self.samples[-1]
            print(
                f"{self.elapsed:6.0f} s  {verdict.num_accepted} accepted, "
                f"{verdict.finals.total()} final, {self.checker.num_open} under way, "
                f"{len(verdict.conflicting)} conflicting, {verdict.num_copies} copies; "
                f"life {sample.life}: {sample.rss_mib:.0f} MiB, {sample.num_files} files",
                flush=True,
            )

    def _look(self) -> None:
        try:
            process = psutil.Process(self.service.pid)
            rss_mib = process.memory_info().rss / _MIB
            sample = _Sample(self.service.num_starts, rss_mib, process.num_fds())
        except psutil.NoSuchProcess:  # killed at this moment
            sample = _Sample(self.service.num_starts, 0.0, 0)
        self.samples.append(sample)


async def under_load(minutes: float, rate: float, seed: int) -> bool:
    """Run and print; whether every promise was kept."""
    print(
        f"{minutes:g} minutes, {rate:g} frames/s, seed {seed}; engine without a model", flush=True
    )
    with tempfile.TemporaryDirectory() as name:
        async with open_site(Path(name), seed, model={"step_timeout": 5.0}) as site:
            around = (site.broker, site.checker, site.cameras, site.service)
            run = _Soak(random.Random(seed), minutes * 60, rate, *around)
            verdict = await run.run()
    _conclude(run, verdict)
    return verdict.is_kept and not run.num_broken


def _conclude(run: _Soak, verdict: Verdict) -> None:
    events = ", ".join(f"{name} {count}" for name, count in sorted(run.events.items()))
    print(f"went wrong: {events}; {run.service.num_starts} lives of the service")
    last = [each for each in run.samples if each.life == run.service.num_starts and each.rss_mib]
    curve = [each.rss_mib for each in last]
    print(f"memory of the last life, MiB: {sparkline(curve)}")
    print("  " + " ".join(f"{each:.0f}" for each in curve))
    print(f"files of the last life: {' '.join(str(each.num_files) for each in last)}")
    print(f"{'KEPT' if verdict.is_kept else 'BROKEN'}: {verdict}")
    if run.num_broken:
        print(f"{run.num_broken} messages broke their reader")
    for name in ("lost", "unheard", "conflicting", "mixed_up", "miscoded"):
        if ids := getattr(verdict, name):
            print(f"  {name}: {' '.join(ids[:20])}")
