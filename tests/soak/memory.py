"""How the memory of the service process goes while frames come steadily and nothing goes wrong.

The process is looked at from outside, at fixed moments; a sample that a busy machine made late
says when it was taken. A peak leaves its mark on every allocator, and a machine that stalls makes
one out of a steady rate. So no more than `_MOST_OPEN` frames are ever under way, that many are at
the very beginning, and what would be more is not sent.
"""

import asyncio
import csv
import random
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from bench._machine import describe
from tests.soak.site import Site, open_site
from tests.soak.slope import MOST_PER_HOUR, slope
from tests.support.checker import Verdict

_MOST_OPEN = 200
_PRINT_S = 60.0
_MIB = 1 << 20
_BARS = "▁▂▃▄▅▆▇█"
_MOST_BARS = 60


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured.

    Args:
        seconds: After the warm-up.
        warm_up_s: Until caches and allocators are full and the store deletes as much as it takes.
        rate: Frames a second.
        seed: Of everything random.
        csv_path: For the samples, those of the warm-up too.
        sample_s: Between two samples.
    """

    seconds: float
    warm_up_s: float = 600.0
    rate: float = 20.0
    seed: int = 1
    csv_path: Path | None = None
    sample_s: float = 10.0


@dataclass(frozen=True, slots=True)
class _Sample:
    """The service at a moment."""

    seconds: float
    rss_mib: float
    num_files: int
    num_accepted: int
    num_open: int

    def __str__(self) -> str:
        return (
            f"{self.seconds:6.0f} s  {self.rss_mib:6.1f} MiB, {self.num_files} files, "
            f"{self.num_accepted} accepted, {self.num_open} under way"
        )


class _Table:
    """The samples as a file, row by row, so that a run that is broken off leaves them."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        if self._path is not None:
            file = self._stack.enter_context(self._path.open("w", newline="", buffering=1))
            self._rows = csv.writer(file)
            self._rows.writerow(("seconds", "rss_mib", "files", "accepted", "under_way"))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def add(self, sample: _Sample) -> None:
        if self._path is not None:
            seconds, rss_mib = f"{sample.seconds:.1f}", f"{sample.rss_mib:.3f}"
            self._rows.writerow(
                (seconds, rss_mib, sample.num_files, sample.num_accepted, sample.num_open)
            )


@dataclass(slots=True)
class _Watch:
    """A run."""

    plan: Plan
    site: Site
    table: _Table
    began: float = field(default_factory=time.monotonic)
    samples: list[_Sample] = field(default_factory=list)  # after the warm-up

    @property
    def _num_open(self) -> int:
        """Frames that were sent and have not ended, acknowledged or not."""
        checker = self.site.checker
        return self.site.cameras.num_sent - checker.num_accepted + checker.num_open

    async def run(self) -> Verdict:
        sending = asyncio.create_task(self._send(), name="send")
        try:
            await self._follow()
        finally:
            sending.cancel()
        await self.site.cameras.all_accepted()
        return await self.site.checker.all_ended()

    async def _send(self) -> None:
        """A peak, then frames at random moments."""
        rng, due = random.Random(self.plan.seed), self.began
        for _ in range(_MOST_OPEN):
            self._send_one(rng)
        while True:
            due += rng.expovariate(self.plan.rate)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if self._num_open < _MOST_OPEN:
                self._send_one(rng)

    def _send_one(self, rng: random.Random) -> None:
        priority = rng.choice(("low", "normal", "normal", "high", "critical"))
        self.site.cameras.send(self.site.cameras.frame(priority=priority))

    async def _follow(self) -> None:
        due = printed = self.began
        while due < self.began + self.plan.warm_up_s + self.plan.seconds:
            due += self.plan.sample_s
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            service = self.site.service
            if not service.is_running:
                raise RuntimeError(f"the service ended by itself: {service.log[-2000:]}")
            sample = self._look()
            self.table.add(sample)
            if sample.seconds > self.plan.warm_up_s:
                self.samples.append(sample)
            if due - printed >= _PRINT_S:
                printed = due
                print(f"{sample}{'' if self.samples else '  (warm-up)'}", flush=True)

    def _look(self) -> _Sample:
        process, checker = psutil.Process(self.site.service.pid), self.site.checker
        return _Sample(
            time.monotonic() - self.began,
            process.memory_info().rss / _MIB,
            process.num_fds(),
            checker.num_accepted,
            self._num_open,
        )


async def watch_memory(plan: Plan) -> bool:
    """Run and print; whether memory was shown to be flat and every promise was kept."""
    print(describe())
    print(
        f"memory of the service process for {plan.seconds:g} s after {plan.warm_up_s:g} s of "
        f"warm-up; {plan.rate:g} frames/s, seed {plan.seed}; engine without a model",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as name, _Table(plan.csv_path) as table:
        async with open_site(Path(name), plan.seed) as site:
            await site.service.start()
            watch = _Watch(plan, site, table)
            verdict = await watch.run()
    return _conclude(watch.samples, verdict)


def _conclude(samples: Sequence[_Sample], verdict: Verdict) -> bool:
    curve = [each.rss_mib for each in samples]
    found = slope([each.seconds for each in samples], curve)
    print(f"memory after the warm-up, MiB: {sparkline(curve[:: -(-len(curve) // _MOST_BARS)])}")
    print(
        f"  {curve[0]:.1f} at first, {curve[-1]:.1f} at last, {min(curve):.1f} to "
        f"{max(curve):.1f}; {len(curve)} samples, "
        f"{samples[-1].num_accepted / samples[-1].seconds:.1f} frames/s"
    )
    print(f"{'KEPT' if verdict.is_kept else 'BROKEN'}: {verdict}")
    print(f"{found.finding}: {found} (95 %); at most {MOST_PER_HOUR:+.2f} is asked for")
    return found.finding == "FLAT" and verdict.is_kept


def sparkline(values: Sequence[float]) -> str:
    """From zero to the greatest, so that flat looks flat."""
    top = max(values, default=0.0) or 1.0
    return "".join(_BARS[min(len(_BARS) - 1, int(each / top * len(_BARS)))] for each in values)
