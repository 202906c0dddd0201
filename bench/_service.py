"""The service as a child process, with the timed stand-in in place of the engine.

Run as `python -m bench._service SETTINGS_JSON PACE_JSON`; prints one JSON object a line: `ready`
once it receives, `committed` every 100 jobs, and at SIGTERM `end` with the longest time the event
loop was held up and the memory it needed.
"""

import asyncio
import contextlib
import gc
import json
import resource
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil

from bench._standin import Pace, StandIn
from schemas.job import Job
from schemas.outbox import OutboxMessage
from service import logs
from service.app import Parts, serve
from service.settings import Settings
from service.store.store import Store

_TICK_S = 0.005


def main() -> None:
    """Serve until SIGTERM."""
    gc.freeze()  # as `serve` does with what it has imported
    logs.configure("warning", "text")
    settings = Settings(**json.loads(sys.argv[1]))
    asyncio.run(_serve(settings, Pace(**json.loads(sys.argv[2]))))


def _say(event: str, **content: Any) -> None:
    memory = psutil.Process().memory_info().rss / (1 << 20)
    line = {"event": event, "at": time.time(), "rss_mib": memory, **content}
    print(json.dumps(line), flush=True)


async def _serve(settings: Settings, pace: Pace) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    standin = StandIn(pace)
    watch = asyncio.create_task(_watch_loop(standin), name="watch")
    parts = Parts(open_store=_counting_store, engine=lambda *_args, **_options: standin)
    await serve(settings, stop=stop, on_ready=lambda: _say("ready"), parts=parts)
    watch.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watch


async def _watch_loop(standin: StandIn) -> None:
    """Measure how late a sleeper wakes; say when the first job reached the engine."""
    lags: list[float] = []
    has_submitted = False
    try:
        while True:
            started = time.perf_counter()
            await asyncio.sleep(_TICK_S)
            lags.append(time.perf_counter() - started - _TICK_S)
            if standin.first_submit_at is not None and not has_submitted:
                has_submitted = True
                _say("first_submit")
    finally:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        late = sorted(lags)[len(lags) * 99 // 100] if lags else 0.0
        _say("end", loop_lag_ms=max(lags) * 1e3, loop_lag_p99_ms=late * 1e3, peak_rss_mib=peak)


class _CountingStore(Store):
    """Says how many jobs are committed."""

    num_committed = 0
    first_at: float | None = None

    async def accept(
        self,
        new_jobs: Sequence[Job],
        images: Mapping[str, bytes],
        messages: Sequence[OutboxMessage] = (),
    ) -> list[OutboxMessage]:
        self.first_at = self.first_at or time.time()
        stored = await super().accept(new_jobs, images, messages)
        before = self.num_committed
        self.num_committed += len(new_jobs)
        if before // 100 != self.num_committed // 100:
            _say("committed", num=self.num_committed, first_at=self.first_at)
        return stored


@asynccontextmanager
async def _counting_store(where: str | Path, **options: Any) -> AsyncIterator[Store]:
    async with _CountingStore.open(where, **options) as store:
        yield store


if __name__ == "__main__":
    main()
