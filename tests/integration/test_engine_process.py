"""The real engine process with the reference model: answers, faults and likeness, from outside."""

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from PIL import Image

from engine.protocol import (
    BoxesAnswer,
    Cancelled,
    Capacity,
    Done,
    Failed,
    LastFrame,
    ModelOptions,
    Piece,
    Ready,
    Similar,
    Started,
    Submit,
    TaskSpec,
    TextAnswer,
)
from service.backoff import Backoff
from service.engines.process import WORKER, EngineEvent, EngineProcess, Lost
from service.errors import EngineError
from tests.support.factories import make_image
from tests.support.faulty_worker import SECRET, command

MODEL = Path(__file__).parents[1] / "data" / "moondream-tiny-ref"
DEMO = Path(__file__).parents[2] / "demo" / "model"
EXPECTED = json.loads((MODEL / "expected.json").read_text())
CAPTION = TaskSpec("caption", "short")
#: Sixteen tasks: the random model may end a text at once, but not sixteen of them.
LONG = (TaskSpec("caption", "long"),) * 16

pytestmark = pytest.mark.asyncio(loop_scope="module")


def make_engine(
    *, step_timeout: float = 10.0, command: Sequence[str] = WORKER, **overrides: Any
) -> EngineProcess:
    values = {
        "name": str(MODEL),
        "revision": "2025-06-21",
        "device": "cpu",
        "dtype": "float32",
        "slots": 3,
        "threads": 1,
        **overrides,
    }
    return EngineProcess(
        ModelOptions(**values),
        step_timeout=step_timeout,
        backoff=Backoff(0.1, 0.2),
        command=command,
    )


def make_submit(key: str, body: bytes, *tasks: TaskSpec, **fields: Any) -> Submit:
    values: dict[str, Any] = {"camera_id": "front", "rank": (0.0,), "max_tokens": 32, **fields}
    return Submit(key=key, tasks=tasks or (CAPTION,), body=body, **values)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared() -> AsyncIterator[EngineProcess]:
    """One process for all tests without a fault: importing torch takes most of the time."""
    async with make_engine() as engine:
        await engine.load()
        yield engine


@pytest_asyncio.fixture(loop_scope="module")
async def engine(shared: EngineProcess) -> EngineProcess:
    assert not shared.held
    while not shared.events.empty():
        shared.events.get_nowait()
    return shared


async def next_event(engine: EngineProcess, *kinds: type[Any]) -> Any:
    while True:
        event: EngineEvent = await asyncio.wait_for(engine.events.get(), 30)
        if not kinds or isinstance(event, kinds):
            return event


async def run(engine: EngineProcess, jobs: Iterable[Submit]) -> dict[str, EngineEvent]:
    """Hand jobs over as there is room; the ending of each."""
    endings: dict[str, EngineEvent] = {}
    waiting = list(jobs)
    total = len(waiting)
    while len(endings) < total:
        while waiting and engine.free:
            await engine.submit(waiting.pop(0))
        event = await next_event(engine, Done, Failed, Similar, Cancelled)
        endings[event.key] = event
    return endings


def reference_jobs() -> Iterable[tuple[Submit, list[dict[str, Any]]]]:
    """Every recorded image with all its tasks in one job, and the recorded answers."""
    for number, image in enumerate(EXPECTED["images"]):
        tasks, answers = [], []
        for length in ("short", "normal", "long"):
            if length in image["caption"]:
                tasks.append(TaskSpec("caption", length))
                answers.append(image["caption"][length])
        tasks.append(TaskSpec("query", image["query"]["question"]))
        answers.append(image["query"])
        for kind in ("detect", "point"):
            tasks.append(TaskSpec(kind, image[kind]["object"]))
            answers.append(image[kind])
        body = (MODEL / image["file"]).read_bytes()
        yield make_submit(f"image-{number}", body, *tasks, max_objects=6), answers


async def test_streamed_task_is_told_while_it_is_generated(engine: EngineProcess) -> None:
    tasks = (TaskSpec("detect", "person"), TaskSpec("caption", "long"), TaskSpec("caption", "long"))
    await engine.submit(make_submit("streamed", make_image(), *tasks, streamed_task=1))
    pieces: list[str] = []
    while not isinstance(event := await next_event(engine, Piece, Done), Done):
        assert event.key == "streamed"
        pieces.append(event.text)
    said = event.answers[1]
    assert isinstance(said, TextAnswer)
    assert pieces
    assert said.text.startswith("".join(pieces))


async def test_job_that_nobody_hears_says_nothing_before_its_end(engine: EngineProcess) -> None:
    await engine.submit(make_submit("unheard", make_image(), *LONG))
    events = [await next_event(engine) for _ in range(2)]
    assert [type(each) for each in events] == [Started, Done]


async def test_answers_equal_the_recorded_ones(engine: EngineProcess) -> None:
    jobs = list(reference_jobs())
    endings = await run(engine, [job for job, _ in jobs])
    for job, expected in jobs:
        done = endings[job.key]
        assert isinstance(done, Done)
        for answer, record in zip(done.answers, expected, strict=True):
            if isinstance(answer, TextAnswer):
                assert answer.text == record["text"]
                assert list(answer.token_ids) == record["token_ids"]
            else:
                fields = asdict(answer)
                found = fields["boxes"] if isinstance(answer, BoxesAnswer) else fields["points"]
                assert len(found) == len(record["objects"])
                for one, other in zip(found, record["objects"], strict=True):
                    assert one == pytest.approx(other, abs=1e-6)
            assert 0 <= answer.confidence <= 1
        assert done.engine_seconds > 0
        assert done.timings["prepare"] > 0


async def test_ready_describes_the_model(engine: EngineProcess) -> None:
    state, loaded = engine.state, engine.loaded
    assert (state.name, state.revision) == (str(MODEL), "local")
    assert (state.state, state.device, state.dtype) == ("ready", "cpu", "float32")
    assert engine.capacity == 4  # three rows, and one frame that is decoded meanwhile
    assert loaded is not None
    assert loaded.ram_mb > 50


async def test_damaged_image_fails_alone(engine: EngineProcess) -> None:
    broken = bytearray(make_image(form="PNG"))
    broken[60:160] = bytes(100)
    endings = await run(
        engine, [make_submit("bad", bytes(broken)), make_submit("good", make_image())]
    )
    bad = endings["bad"]
    assert isinstance(bad, Failed)
    assert (bad.code, bad.can_retry) == ("image_corrupt", False)
    assert isinstance(endings["good"], Done)


async def test_impossible_prompt_fails_alone(engine: EngineProcess) -> None:
    question = TaskSpec("query", "why " * 3000)
    ending = (await run(engine, [make_submit("long", make_image(), question)]))["long"]
    assert isinstance(ending, Failed)
    assert (ending.code, ending.can_retry) == ("prompt", False)


async def test_task_that_there_is_not_fails_alone(engine: EngineProcess) -> None:
    jobs = [
        make_submit("odd", make_image(), TaskSpec("sing", "?")),
        make_submit("ok", make_image()),
    ]
    endings = await run(engine, jobs)
    assert isinstance(endings["odd"], Failed)
    assert endings["odd"].message == "An unexpected error in the engine; the log has it"
    assert isinstance(endings["ok"], Done)


async def test_cancel_ends_waiting_and_running_jobs(engine: EngineProcess) -> None:
    for number in range(4):
        await engine.submit(make_submit(f"job-{number}", make_image(number), *LONG))
    await next_event(engine, Started)
    for number in range(4):
        await engine.cancel(f"job-{number}")
    endings = {(await next_event(engine, Cancelled, Done)).key for _ in range(4)}
    assert endings == {f"job-{number}" for number in range(4)}
    assert not engine.held
    assert isinstance((await run(engine, [make_submit("job-0", make_image())]))["job-0"], Done)


async def test_cancelled_job_may_come_again_at_once(engine: EngineProcess) -> None:
    """As a preempted job does; the picture of the first time must not disturb the second."""
    await engine.submit(make_submit("again", make_image(size=(2000, 1500))))
    await engine.cancel("again")
    await next_event(engine, Cancelled)
    assert isinstance((await run(engine, [make_submit("again", make_image())]))["again"], Done)


async def test_urgent_job_is_answered_before_earlier_ones(engine: EngineProcess) -> None:
    jobs = [make_submit(f"low-{n}", make_image(n), *LONG, rank=(1.0, float(n))) for n in range(3)]
    for job in jobs:
        await engine.submit(job)
    await next_event(engine, Started)
    await engine.submit(make_submit("urgent", make_image(9), rank=(0.0,), max_tokens=5))
    order = [(await next_event(engine, Done)).key for _ in range(4)]
    assert order[0] == "urgent"


async def test_wanted_picture_comes_back_with_boxes(engine: EngineProcess) -> None:
    body = (MODEL / EXPECTED["images"][0]["file"]).read_bytes()
    label = TaskSpec("detect", EXPECTED["images"][0]["detect"]["object"])
    done = (await run(engine, [make_submit("seen", body, label, want_image=True)]))["seen"]
    assert isinstance(done, Done)
    picture = Image.open(io.BytesIO(done.body))
    assert picture.format == "JPEG"
    assert picture.size == (320, 240)
    assert not picture.getexif()
    plain = Image.open(io.BytesIO(body)).convert("RGB")
    assert picture.tobytes() != plain.tobytes()


async def test_similar_frame_is_not_captioned_twice(engine: EngineProcess) -> None:
    policy: dict[str, Any] = {"similarity": 0.97, "similarity_window": 60.0}
    first, again, other = make_image(1), make_image(1, quality=60), make_image(2)
    assert isinstance((await run(engine, [make_submit("a", first, **policy)]))["a"], Done)
    ending = (await run(engine, [make_submit("b", again, **policy)]))["b"]
    assert isinstance(ending, Similar)
    assert ending.other_key == "a"
    elsewhere = make_submit("c", again, camera_id="back", **policy)
    matters = make_submit("d", again, importance=3, **policy)
    news = make_submit("e", other, **policy)
    for job in (elsewhere, matters, news):
        assert isinstance((await run(engine, [job]))[job.key], Done)
    # The scene of `a` is back: news again, as the newest caption tells of another.
    assert isinstance((await run(engine, [make_submit("f", first, **policy)]))["f"], Done)


async def test_frame_like_one_of_another_engine_is_not_captioned(engine: EngineProcess) -> None:
    """What one engine says of a frame when it starts it, another can be asked with."""
    policy: dict[str, Any] = {"similarity": 0.97, "similarity_window": 60.0}
    await engine.submit(make_submit("a", make_image(1), camera_id="here", **policy))
    started = await next_event(engine, Started)
    assert started.fingerprint is not None
    await next_event(engine, Done)
    last = LastFrame("a", started.fingerprint, age_s=30.0, importance=0)
    jobs = [
        make_submit("b", make_image(1, quality=60), camera_id="there", last_frame=last, **policy),
        make_submit("c", make_image(2), camera_id="elsewhere", last_frame=last, **policy),
    ]
    endings = await run(engine, jobs)
    assert isinstance(endings["b"], Similar)
    assert endings["b"].other_key == "a"
    assert isinstance(endings["c"], Done)


async def test_frame_whose_like_was_cancelled_is_captioned(engine: EngineProcess) -> None:
    policy = {"similarity": 0.97, "similarity_window": 60.0, "camera_id": "cancelled"}
    await engine.submit(make_submit("a", make_image(1), *LONG, **policy))
    await next_event(engine, Started)
    await engine.cancel("a")
    await next_event(engine, Cancelled)
    ending = (await run(engine, [make_submit("b", make_image(1), **policy)]))["b"]
    assert isinstance(ending, Done)


async def test_killed_engine_starts_again_and_answers(engine: EngineProcess) -> None:
    await engine.submit(make_submit("job-1", make_image(), *LONG))
    await next_event(engine, Started)
    assert engine.pid
    os.kill(engine.pid, signal.SIGKILL)
    assert (await next_event(engine, Lost)).keys == ("job-1",)
    await next_event(engine, Ready)
    assert isinstance((await run(engine, [make_submit("job-1", make_image())]))["job-1"], Done)


@pytest.mark.parametrize(
    ("fault", "reason"), [("crash:bad", "exited with 70"), ("segv:bad", "SIGSEGV")]
)
async def test_job_that_kills_the_engine_is_reported(fault: str, reason: str) -> None:
    async with make_engine(command=command(fault)) as engine:
        await engine.load()
        await engine.submit(make_submit("bad-1", make_image()))
        lost = await next_event(engine, Lost)
        assert lost.keys == ("bad-1",)
        assert reason in lost.message
        await next_event(engine, Ready)


async def test_loop_that_stops_is_killed() -> None:
    async with make_engine(command=command("hang:bad"), step_timeout=3.0) as engine:
        await engine.load()
        await engine.submit(make_submit("bad-1", make_image()))
        assert "no sign of life" in (await next_event(engine, Lost)).message


async def test_image_that_never_decodes_ends_the_process() -> None:
    async with make_engine(command=command("stuck:bad")) as engine:
        await engine.load()
        await engine.submit(make_submit("bad-1", make_image()))
        assert "the image of bad-1 took over 1 s" in (await next_event(engine, Lost)).message


async def test_unexpected_error_fails_its_job_and_is_not_told_outside() -> None:
    async with make_engine(command=command("odd:bad")) as engine:
        await engine.load()
        await engine.submit(make_submit("bad-1", make_image()))
        await engine.submit(make_submit("good-1", make_image()))
        events = [await next_event(engine, Done, Failed) for _ in range(2)]
        endings = {event.key: event for event in events}
        assert isinstance(endings["good-1"], Done)
        failed = endings["bad-1"]
        assert (failed.code, failed.can_retry) == ("internal", True)
        assert failed.message == "An unexpected error in the engine; the log has it"
        assert SECRET not in failed.message


async def test_out_of_memory_halves_the_batch_and_answers() -> None:
    async with make_engine(command=command("oom:1"), slots=8) as engine:
        await engine.load()
        assert engine.capacity == 9
        jobs = [make_submit(f"job-{number}", make_image(number)) for number in range(4)]
        for job in jobs:
            await engine.submit(job)
        assert (await next_event(engine, Capacity)).capacity == 5
        for _ in jobs:
            assert isinstance(await next_event(engine, Done, Failed), Done)
        assert engine.capacity == 5


async def test_out_of_memory_time_and_again_gets_a_fresh_process() -> None:
    async with make_engine(command=command("oom:1000"), slots=2) as engine:
        await engine.load()
        first = engine.pid
        for number in range(3):
            await engine.submit(make_submit(f"job-{number}", make_image(number)))
            failed = await next_event(engine, Failed)
            assert failed.code == "out_of_memory"
        assert "no memory" in (await next_event(engine, Lost)).message
        await next_event(engine, Ready)
        assert engine.pid != first


async def test_critical_frame_goes_between_the_parts_of_another() -> None:
    """Each frame is encoded for four seconds or more, in steps of one and a half."""
    picture = make_image(size=(1280, 720))
    async with make_engine(command=command("slow:0.15"), slots=2) as engine:
        await engine.load()
        await engine.submit(make_submit("low", picture, rank=(1.0,)))
        assert (await next_event(engine, Started)).key == "low"
        begin = asyncio.get_running_loop().time()
        await engine.submit(make_submit("critical", make_image(), rank=(0.0,)))
        order = [await next_event(engine, Started, Done, Failed) for _ in range(3)]
        assert [(type(event), event.key) for event in order] == [
            (Started, "critical"),
            (Done, "critical"),
            (Done, "low"),
        ]
        waited = order[1].engine_seconds - order[1].timings["encode_seconds"]
        # One step of the other frame, and its own prompt; more where the machine is busy.
        assert waited < 4.0
        assert asyncio.get_running_loop().time() - begin < 30


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"name": "/nonexistent/folder"}, "model_file"),
        ({"device": "cuda:77"}, "device_unavailable"),
        ({"device": "toaster"}, "device_unavailable"),
        ({"quantization": "int4"}, "model_quantize"),
        ({"dtype": "float7"}, "model_error"),  # nobody foresaw it
    ],
)
async def test_load_failure_has_a_code(change: dict[str, Any], code: str) -> None:
    async with make_engine(**change) as engine:
        with pytest.raises(EngineError) as caught:
            await engine.load()
        assert caught.value.code == code
        assert engine.state.state == "failed"
        message = engine.state.message or ""
        assert 0 < len(message) < 600
        assert "\n" not in message
        assert "Error" not in message


async def test_child_ends_with_its_parent(tmp_path: Path) -> None:
    script = f"""
import asyncio, sys
from service.engines.process import EngineProcess
from engine.protocol import ModelOptions
async def main():
    async with EngineProcess(ModelOptions({str(MODEL)!r}, "", "cpu", "float32", threads=1)) as e:
        await e.load()
        print(e.pid, flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdout=subprocess.PIPE
    )
    assert parent.stdout
    child = int(await parent.stdout.readline())
    parent.kill()
    await parent.wait()
    async with asyncio.timeout(5):
        while _is_running(child):  # noqa: ASYNC110 - polls a process that is not ours
            await asyncio.sleep(0.05)


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


async def test_unusual_picture_sizes_are_answered(engine: EngineProcess) -> None:
    jobs = [
        make_submit(f"{width}x{height}", make_image(size=(width, height)), max_tokens=4)
        for width, height in ((16, 16), (16, 2000), (2000, 16), (1920, 1080))
    ]
    endings = await run(engine, jobs)
    assert all(isinstance(ending, Done) for ending in endings.values())


async def test_load_of_a_model_that_is_not_here_downloads_nothing_unless_it_may() -> None:
    async with make_engine() as engine:
        await engine.load()
        options = ModelOptions(str(DEMO), "local", "cpu", "float32", slots=3, threads=1)
        absent = replace(options, name="acme/absent", revision="main", download=False)
        with pytest.raises(EngineError, match="not in the cache"):
            await engine.load(absent)
        await engine.load(options)
        assert (engine.state.name, engine.state.state) == (str(DEMO), "ready")
        endings = await run(engine, [make_submit("job-1", make_image())])
        assert isinstance(endings["job-1"], Done)
