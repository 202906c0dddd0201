import asyncio
import contextlib
import logging
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.protocol import (
    VERSION,
    Cancelled,
    Capacity,
    Done,
    Failed,
    LoadFailed,
    Loading,
    ModelOptions,
    Ready,
    Started,
    Submit,
    TaskSpec,
    TextAnswer,
)
from service.backoff import Backoff
from service.engines.child import Child
from service.engines.process import EngineEvent, EngineProcess, Lost
from service.errors import EngineError

CHILD = Path(__file__).parents[3] / "support" / "scripted_child.py"


def make_options(name: str = "tiny") -> ModelOptions:
    return ModelOptions(name, "local", "cpu", "auto")


def make_engine(mode: str = "works", **overrides: Any) -> EngineProcess:
    values: dict[str, Any] = {
        "load_timeout": 10.0,
        "step_timeout": 5.0,
        "backoff": Backoff(first=0.05, longest=0.2),
        **overrides,
    }
    return EngineProcess(make_options(), command=(sys.executable, str(CHILD), mode), **values)


def make_submit(key: str, body: bytes = b"abc") -> Submit:
    return Submit(key, "front", (0.0,), (TaskSpec("caption", "short"),), body=body)


async def next_event(engine: EngineProcess, *kinds: type[Any]) -> Any:
    while True:
        event: EngineEvent = await asyncio.wait_for(engine.events.get(), 10)
        if not kinds or isinstance(event, kinds):
            return event


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():  # noqa: ASYNC110 - polls the real process
            await asyncio.sleep(0.01)


async def test_job_is_answered_with_its_body_both_ways() -> None:
    async with make_engine() as engine:
        await engine.load()
        assert engine.state.state == "ready"
        body = os.urandom(4 << 20)
        await engine.submit(make_submit("job-1", body))
        assert isinstance(await next_event(engine, Started), Started)
        done = await next_event(engine, Done)
        assert done.answers == (TextAnswer(str(4 << 20), (), 1.0),)
        assert done.body == body[:1]
        assert not engine.held


async def test_enter_does_not_wait_for_the_model() -> None:
    async with make_engine("load_hangs") as engine:
        assert engine.state.state == "loading"
        assert engine.capacity == 0
        with pytest.raises(EngineError) as caught:
            await engine.submit(make_submit("job-1"))
        assert caught.value.code == "engine_unavailable"


async def test_submit_beyond_capacity_is_refused_until_one_leaves() -> None:
    async with make_engine() as engine:
        await engine.load()
        await engine.submit(make_submit("hold-1"))
        await engine.submit(make_submit("hold-2"))
        with pytest.raises(EngineError) as caught:
            await engine.submit(make_submit("hold-3"))
        assert caught.value.code == "engine_full"
        await engine.cancel("hold-1")
        await engine.submit(make_submit("hold-3"))  # takes the place at once
        assert (await next_event(engine, Cancelled)).key == "hold-1"
        assert engine.held == {"hold-2", "hold-3"}


async def test_crash_loses_held_jobs_and_starts_again() -> None:
    async with make_engine() as engine:
        await engine.load()
        await engine.submit(make_submit("hold-1"))
        await engine.submit(make_submit("crash-1"))
        lost = await next_event(engine, Lost)
        assert lost.keys == ("crash-1", "hold-1")
        assert "exited with 3: cannot go on" in lost.message
        assert isinstance(await next_event(engine, Ready), Ready)
        await engine.submit(make_submit("job-2"))
        assert (await next_event(engine, Done)).key == "job-2"


async def test_segmentation_fault_is_named() -> None:
    async with make_engine() as engine:
        await engine.load()
        await engine.submit(make_submit("segv-1"))
        assert "SIGSEGV" in (await next_event(engine, Lost)).message


async def test_hang_is_killed_after_step_timeout() -> None:
    async with make_engine(step_timeout=0.5) as engine:
        await engine.load()
        first = engine.pid
        await engine.submit(make_submit("hang-1"))
        lost = await next_event(engine, Lost)
        assert lost.keys == ("hang-1",)
        assert "no sign of life for 0.5 s" in lost.message
        await next_event(engine, Ready)
        assert engine.pid != first


async def test_stopped_child_is_silent_until_it_goes_on() -> None:
    async with make_engine() as engine:
        assert engine.silent_s == 0.0
        await engine.load()
        assert engine.pid
        os.kill(engine.pid, signal.SIGSTOP)
        await until(lambda: engine.silent_s > 1.0)
        assert engine.state.state == "ready"
        os.kill(engine.pid, signal.SIGCONT)
        await until(lambda: engine.silent_s < 0.5)


async def test_silence_is_not_counted_while_nobody_takes_events() -> None:
    async with make_engine() as engine:
        await engine.load()
        engine.events = asyncio.Queue(maxsize=1)
        await engine.submit(make_submit("job-1"))  # two events, and there is room for one
        await until(engine.events.full)
        await asyncio.sleep(0.5)
        assert engine.silent_s == 0.0


async def test_kill_from_outside_is_survived() -> None:
    async with make_engine() as engine:
        await engine.load()
        assert engine.pid
        os.kill(engine.pid, signal.SIGKILL)
        lost = await next_event(engine, Lost)
        assert lost.keys == ()
        assert "SIGKILL" in lost.message
        await next_event(engine, Ready)


async def test_load_that_cannot_work_is_not_tried_again() -> None:
    async with make_engine("load_fails") as engine:
        with pytest.raises(EngineError) as caught:
            await engine.load()
        assert caught.value.code == "model_file"
        assert isinstance(await next_event(engine, LoadFailed), LoadFailed)
        await asyncio.sleep(0.5)
        assert engine.events.empty()
        assert engine.state.state == "failed"
        assert engine.state.message == "config.json: no such file"


async def test_load_that_may_work_later_is_tried_again() -> None:
    async with make_engine("load_fails_for_now") as engine:
        for _ in range(3):
            assert (await next_event(engine, LoadFailed)).code == "model_download"


async def test_crash_while_loading_backs_off_and_repeats() -> None:
    async with make_engine("load_crashes") as engine:
        with pytest.raises(EngineError) as caught:
            await engine.load()
        assert "out of luck" in str(caught.value)
        times = []
        for _ in range(4):
            await next_event(engine, Lost)
            times.append(time.monotonic())
        assert times[-1] - times[-2] > 0.2


async def test_load_without_progress_times_out() -> None:
    async with make_engine("load_hangs", load_timeout=0.5) as engine:
        with pytest.raises(EngineError, match="no sign of life"):
            await engine.load()


async def test_load_with_progress_outlasts_its_timeout() -> None:
    async with make_engine("load_moves", load_timeout=0.7) as engine:  # 1 s in all
        await engine.load()
        assert isinstance(await next_event(engine), Loading)


@pytest.mark.parametrize(
    ("mode", "theirs"),
    [(f"speaks:{VERSION + 1}", f"version {VERSION + 1}"), ("silent", "no version")],
)
async def test_child_of_another_version_is_refused_and_not_started_again(
    mode: str, theirs: str
) -> None:
    async with make_engine(mode) as engine:
        with pytest.raises(EngineError, match=f"speaks {theirs} .* restart the service") as caught:
            await engine.load()
        assert caught.value.code == "engine_version"
        refused = await next_event(engine, LoadFailed)
        assert f"the service version {VERSION}" in refused.message
        await until(lambda: engine.pid is None)
        await asyncio.sleep(0.5)
        assert engine.events.empty()
        assert (engine.state.state, engine.state.message) == ("failed", refused.message)
        assert engine.capacity == 0


async def test_last_words_that_are_not_an_error_of_ours_are_not_told_outside() -> None:
    """A traceback's last line may quote anything."""
    async with make_engine("load_raises") as engine:
        lost = await next_event(engine, Lost)
        assert lost.message == "the engine exited with 1"


async def test_garbage_ends_the_child() -> None:
    async with make_engine("garbage") as engine:
        assert "garbage" in (await next_event(engine, Lost)).message


async def test_unload_waits_for_running_jobs_and_load_brings_it_back() -> None:
    async with make_engine() as engine:
        await engine.load()
        await engine.submit(make_submit("hold-1"))
        unloading = asyncio.create_task(engine.unload())
        await asyncio.sleep(0.1)
        assert not unloading.done()
        assert engine.capacity == 0
        await engine.cancel("hold-1")
        await asyncio.wait_for(unloading, 10)
        await until(lambda: engine.state.state == "unloaded")
        assert engine.pid is None
        assert engine.loaded is None
        await engine.load()
        assert engine.state.state == "ready"
        assert not [event for event in drain(engine) if isinstance(event, Lost)]


async def test_load_of_another_model_switches() -> None:
    async with make_engine() as engine:
        await engine.load()
        first = engine.pid
        await engine.load(make_options("other"))
        assert engine.state.name == "other"
        assert engine.loaded is not None
        assert engine.loaded.name == "other"
        assert engine.pid != first


async def test_load_when_ready_does_nothing() -> None:
    async with make_engine() as engine:
        await engine.load()
        first = engine.pid
        await engine.load()
        assert engine.pid == first


async def test_load_overtaken_by_unload_says_so() -> None:
    async with make_engine("load_hangs") as engine:
        loading = asyncio.create_task(engine.load())
        await until(lambda: engine.pid is not None)
        await engine.unload()
        with pytest.raises(EngineError) as caught:
            await loading
        assert caught.value.code == "model_replaced"


async def test_capacity_follows_memory() -> None:
    async with make_engine() as engine:
        await engine.load()
        await engine.submit(make_submit("memory-1"))
        assert (await next_event(engine, Capacity)).capacity == 1
        await next_event(engine, Done)
        assert engine.capacity == 1


async def test_failed_job_leaves_the_engine_running() -> None:
    async with make_engine() as engine:
        await engine.load()
        await engine.submit(make_submit("fail-1"))
        assert (await next_event(engine, Failed)).code == "image_corrupt"
        await engine.submit(make_submit("job-2"))
        await next_event(engine, Done)


async def test_exit_leaves_no_process() -> None:
    async with make_engine() as engine:
        await engine.load()
        pid = engine.pid
        assert pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_missing_program_is_a_failure_not_a_crash() -> None:
    engine = EngineProcess(
        make_options(), command=("/nonexistent/program",), backoff=Backoff(0.05, 0.1)
    )
    async with engine:
        assert "cannot be started" in (await next_event(engine, Lost)).message


@pytest.mark.parametrize(
    ("line", "level"),
    [
        (b"INFO all is well", "INFO"),
        (b"ERROR no room", "ERROR"),
        (b"Segmentation fault", "WARNING"),
        (b"[W1122 02:01:02.000 init.cpp:10] Warning: deprecated", "DEBUG"),
        (b"[W Context.cpp:70] Warning: deprecated", "DEBUG"),
    ],
)
def test_line_of_child_has_its_level(
    line: bytes, level: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    Child(())._log_line(line)
    assert [record.levelname for record in caplog.records] == [level]


async def test_output_of_child_is_logged_in_pieces(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with make_engine() as engine:
        await engine.load()
        await engine.submit(make_submit("chatter-1"))
        await next_event(engine, Done)
    lines = [record for record in caplog.records if record.name == "service.engines.child"]
    assert sum(record.getMessage().count("x") for record in lines) == 10_000
    assert max(len(record.getMessage()) for record in lines) <= 8192


async def test_child_sees_no_secrets_and_sends_no_telemetry(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MOONDREAM2MQTT__MQTT__PASSWORD", "hunter2")
    monkeypatch.delenv("HF_HUB_DISABLE_TELEMETRY", raising=False)
    async with make_engine("secretive") as engine:
        await engine.load()
    assert "saw ['HF_HUB_DISABLE_TELEMETRY=1']" in caplog.text


async def test_nobody_takes_events_and_the_child_waits_alive() -> None:
    async with make_engine(step_timeout=0.3) as engine:
        await engine.load()
        engine.events = asyncio.Queue(maxsize=1)
        await engine.submit(make_submit("job-1"))  # Started fills the queue, Done waits
        await asyncio.sleep(0.8)
        assert engine.pid is not None
        assert isinstance(await next_event(engine, Done), Done)
        assert engine.state.state == "ready"


def drain(engine: EngineProcess) -> list[EngineEvent]:
    return [engine.events.get_nowait() for _ in range(engine.events.qsize())]


async def test_every_job_taken_ends_exactly_once_whatever_happens() -> None:
    """Random work, failures, cancels, crashes, kills, unloads: the promise of `submit`."""
    rng = random.Random(7)
    kinds = ["job"] * 12 + ["hold"] * 4 + ["fail"] * 2 + ["crash", "segv"]
    taken: list[str] = []
    ended: list[str] = []

    async def collect(engine: EngineProcess) -> None:
        while True:
            match await engine.events.get():
                case Lost(keys=keys):
                    ended.extend(keys)
                case Done() | Failed() | Cancelled() as ending:
                    ended.append(ending.key)

    async with make_engine(backoff=Backoff(0.01, 0.02)) as engine:
        collector = asyncio.create_task(collect(engine))
        for number in range(300):
            if not engine.free:
                for key in rng.sample(sorted(engine.held), min(1, len(engine.held))):
                    await engine.cancel(key)
                await asyncio.sleep(0.01)
            job = make_submit(f"{rng.choice(kinds)}-{number}")
            with contextlib.suppress(EngineError):
                await engine.submit(job)
                taken.append(job.key)
            if number % 60 == 30 and engine.pid:
                with contextlib.suppress(ProcessLookupError):  # it has crashed by itself
                    os.kill(engine.pid, signal.SIGKILL)
            if number % 100 == 50:
                for key in engine.held:
                    await engine.cancel(key)
                await engine.unload()
                await engine.load()
        for key in engine.held:
            await engine.cancel(key)
        await until(lambda: not engine.held and engine.events.empty())
        await asyncio.sleep(0.05)
        collector.cancel()
    assert len(taken) > 50
    assert sorted(ended) == sorted(taken)
