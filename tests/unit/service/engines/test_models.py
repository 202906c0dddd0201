"""Orders about the model, carried out on real engine processes that have none."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

import psutil

from engine.protocol import ModelOptions
from service.backoff import Backoff
from service.engines.models import Models
from service.engines.process import EngineProcess
from tests.support.factories import NOON
from tests.support.fakes import FakeClock
from tests.unit.service.engines.test_process import CHILD, make_submit

PATIENCE_S = 20.0


@dataclass(slots=True)
class Work:
    """What there is to do, as a test says."""

    is_waiting: bool = False
    num_running: int = 0
    num_given: int = 0
    num_looks: int = 0

    def look_again(self) -> None:
        self.num_looks += 1


@dataclass(slots=True)
class Site:
    """Engines, and orders for them; models whose name begins with `no-` cannot be loaded."""

    engines: list[EngineProcess]
    models: Models
    clock: FakeClock
    work: Work

    @property
    def states(self) -> list[tuple[str, str]]:
        return [(engine.state.name, engine.state.state) for engine in self.engines]

    async def until(self, *states: tuple[str, str]) -> None:
        await until(lambda: self.states == list(states))


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not is_so():  # noqa: ASYNC110 - polls real processes
            await asyncio.sleep(0.01)


def named(name: str) -> Callable[[ModelOptions], ModelOptions]:
    return lambda has: replace(has, name=name)


@asynccontextmanager
async def site(num_engines: int = 1, unload_after: float = 0.0) -> AsyncIterator[Site]:
    options = [ModelOptions("tiny", "local", f"cuda:{n}", "auto") for n in range(num_engines)]
    clock, work = FakeClock(NOON), Work()
    async with AsyncExitStack() as stack:
        engines = [
            await stack.enter_async_context(
                EngineProcess(
                    each,
                    load_timeout=10.0,
                    backoff=Backoff(0.05, 0.2),
                    command=(sys.executable, str(CHILD), "picky"),
                )
            )
            for each in options
        ]
        models = Models(engines, options, unload_after, work, clock)
        running = asyncio.create_task(models.run())
        found = Site(engines, models, clock, work)
        await found.until(*[("tiny", "ready")] * num_engines)
        yield found
        running.cancel()
        await asyncio.wait({running})


async def test_load_switches_all_engines() -> None:
    async with site(2) as it:
        switch = it.models.load(named("other"))
        await asyncio.wait_for(switch.is_decided.wait(), PATIENCE_S)
        assert (switch.state, switch.error) == ("loaded", None)
        assert it.states == [("other", "ready")] * 2
        assert it.models.chosen.name == "other"
        assert [engine.state.device for engine in it.engines] == ["cuda:0", "cuda:1"]


async def test_load_waits_for_running_jobs_and_says_so() -> None:
    async with site() as it:
        engine = it.engines[0]
        await engine.submit(make_submit("hold-1"))
        switch = it.models.load(named("other"))
        await until(lambda: engine.state.message == "1 running jobs end first")
        assert (engine.state.name, engine.state.state) == ("tiny", "loading")
        await engine.cancel("hold-1")
        await asyncio.wait_for(switch.is_decided.wait(), PATIENCE_S)
        assert it.states == [("other", "ready")]


async def test_model_that_cannot_be_loaded_leaves_the_former_on_all_engines() -> None:
    async with site(2) as it:
        second = it.engines[1].pid
        switch = it.models.load(named("no-such"))
        await asyncio.wait_for(switch.is_decided.wait(), PATIENCE_S)
        assert switch.error is not None
        assert (switch.error.code, switch.error.message) == ("model_file", "no-such: no such file")
        await it.until(("tiny", "ready"), ("tiny", "ready"))
        await until(lambda: switch.state == "failed")
        assert it.models.chosen.name == "tiny"
        assert it.engines[1].pid == second  # went on captioning all the time


async def test_model_that_only_one_engine_can_load_is_taken_back_from_the_others() -> None:
    async with site(2) as it:
        switch = it.models.load(
            lambda has: replace(has, name="other" if has.device == "cuda:0" else "no-room")
        )
        await asyncio.wait_for(switch.is_decided.wait(), PATIENCE_S)
        await it.until(("tiny", "ready"), ("tiny", "ready"))


async def test_newest_order_counts() -> None:
    async with site() as it:
        await it.engines[0].submit(make_submit("hold-1"))
        first = it.models.load(named("other"))
        second = it.models.load(named("third"))
        await asyncio.wait_for(first.is_decided.wait(), PATIENCE_S)
        assert first.error is not None
        assert (first.state, first.error.code) == ("failed", "model_replaced")
        await it.engines[0].cancel("hold-1")
        await asyncio.wait_for(second.is_decided.wait(), PATIENCE_S)
        assert it.states == [("third", "ready")]


async def test_unload_ends_the_process_and_a_waiting_job_loads_again() -> None:
    async with site(2) as it:
        pids = [engine.pid or 0 for engine in it.engines]
        await asyncio.wait_for(it.models.unload(), PATIENCE_S)
        await it.until(("tiny", "unloaded"), ("tiny", "unloaded"))
        assert not any(map(psutil.pid_exists, pids))
        assert it.work.num_looks == 1
        await asyncio.sleep(0.5)
        assert it.states == [("tiny", "unloaded")] * 2
        it.work.is_waiting = True
        await it.until(("tiny", "ready"), ("tiny", "ready"))


async def test_failed_switch_from_an_unloaded_model_leaves_it_unloaded() -> None:
    async with site() as it:
        await asyncio.wait_for(it.models.unload(), PATIENCE_S)
        switch = it.models.load(named("no-such"))
        await until(lambda: switch.state == "failed")
        await it.until(("tiny", "unloaded"))
        it.work.is_waiting = True
        await it.until(("tiny", "ready"))


async def test_model_without_a_job_for_so_long_is_unloaded() -> None:
    async with site(unload_after=60.0) as it:
        await asyncio.sleep(0.5)
        it.clock.advance(59)
        await asyncio.sleep(0.5)
        assert it.states == [("tiny", "ready")]
        it.work.num_given += 1
        await asyncio.sleep(0.5)
        it.clock.advance(59)
        await asyncio.sleep(0.5)
        assert it.states == [("tiny", "ready")]
        it.clock.advance(2)
        await it.until(("tiny", "unloaded"))
