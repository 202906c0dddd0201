import io
import time
import tracemalloc
from datetime import datetime, timedelta
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from schemas.frame import Priority
from schemas.job import JobStatus
from schemas.result import ModelInfo, Result, ResultDocument
from schemas.status import (
    BridgeInfo,
    Gpu,
    GpuMemory,
    GpuUtilization,
    Health,
    HealthCheck,
    Latency,
    Metrics,
    Stats,
    StatusDocument,
)
from service.commands.follow import BrokerLost, CameraForgotten, CameraImage, Connected, Document
from service.commands.live.graphics import Graphics
from service.commands.live.screen import Screen
from service.commands.view import View
from tests.support.factories import NOON, make_image
from tests.support.fakes import FakeClock

#: The longest of 1,307 captions of the demonstration's stories.
LONGEST = (
    "It is daytime at the front door. A package is being carried in the middle and a person in "
    "yellow is walking in the middle."
)


def make_result(caption: str = "A dog.", **fields: object) -> ResultDocument:
    result = Result(
        caption=caption,
        short_caption=caption,
        confidence=0.87,
        processing_time=1.25,
        queue_time=0.5,
        model_info=ModelInfo(
            model="tiny",
            revision="local",
            device="cpu",
            camera_id="front",
            motion_intensity=0.9,
            priority=Priority.CRITICAL,
        ),
    )
    values: dict[str, object] = {
        "job_id": "job",
        "camera_id": "front",
        "status": JobStatus.COMPLETED,
        "result": result,
        "error_message": None,
        "timestamp": NOON,
        "location": None,
        "metadata": {},
        **fields,
    }
    return ResultDocument.model_validate(values)


def make_status(status: JobStatus) -> StatusDocument:
    return StatusDocument(job_id="job", camera_id="back", status=status, message="", timestamp=NOON)


def make_stats() -> Stats:
    return Stats(
        total_jobs=9,
        active_jobs=2,
        queue_size=3,
        max_concurrent_jobs=8,
        status_counts={},
        system_status="running",
        processing=True,
        average_processing_time=1.0,
        webhook_success_rate=None,
        captions_per_minute=42.0,
        queue_by_priority={"low": 3},
        latency={"high": Latency(p50=0.5, p95=0.9, p99=1.1)},
        latency_overall=Latency(p50=0.5, p95=0.9, p99=1.1),
        dropped={"queue_full": 4},
        duplicates={"similar": 7},
        rejected={"not_an_image": 5},
        preempted=2,
        connection={"reconnects": 3},
        uptime=60.0,
        since=NOON,
    )


def shown(view: View, width: int = 160, height: int = 40) -> str:
    console = Console(width=width, height=height)
    with console.capture() as capture:
        console.print(view.render(), end="")
    return capture.get()


def make_clock(seconds_after_noon: float = 3) -> FakeClock:
    return FakeClock(NOON + timedelta(seconds=seconds_after_noon))


def make_view(**options: Any) -> View:
    return View("here", **{"clock": make_clock(), **options})


def make_info(**model: object) -> BridgeInfo:
    state = {
        "name": "vikhyatk/moondream2",
        "revision": "main",
        "device": "cuda:0",
        "dtype": "bfloat16",
        "state": "ready",
        **model,
    }
    settings: dict[str, object] = {"cameras": {"front_door": {}, "street": {}}}
    return BridgeInfo.model_validate(
        {
            "version": "1",
            "instance": "one",
            "mqtt_version": "5",
            "model": state,
            "limits": {},
            "settings": settings,
        }
    )


def working(camera_id: str, job_id: str = "job") -> StatusDocument:
    status = make_status(JobStatus.PROCESSING)
    return status.model_copy(update={"camera_id": camera_id, "job_id": job_id})


def test_view_before_any_document_says_so() -> None:
    text = shown(make_view())
    assert "connecting" in text
    assert "no captions yet" in text
    assert "no statistics yet" in text


def test_result_shows_newest_caption_with_priority_seconds_and_age() -> None:
    view = make_view()
    view.feed(make_result("A cat."))
    view.feed(make_result("A dog."))
    text = shown(view)
    assert "A dog." in text
    assert "A cat." not in text
    assert "▲▲" in text
    assert "critical" in text
    assert "in 1.75 s" in text
    assert "3 s ago" in text


def test_age_ticks_without_documents() -> None:
    clock = make_clock()
    view = make_view(clock=clock)
    view.feed(make_result())
    clock.advance(600)
    assert "10 min ago" in shown(view)
    clock.set_now(NOON - timedelta(hours=1))  # the other machine's clock is ahead
    assert "now" in shown(view)


def test_note_shows_that_part_of_metadata_apart_from_the_caption() -> None:
    view = make_view(note="truth")
    view.feed(make_result(metadata={"truth": "A wolf."}))
    assert "drawn: A wolf." in shown(view)


def test_final_statuses_are_counted_per_camera_and_shown_short() -> None:
    view = make_view()
    for status in (
        *(JobStatus.QUEUED, JobStatus.DROPPED, JobStatus.DROPPED),
        *(JobStatus.COMPLETED, JobStatus.DUPLICATE, JobStatus.FAILED),
    ):
        view.feed(make_status(status))
    text = shown(view)
    assert "✓ 1  = 1  ✗ 1  dropped 2" in text
    assert "expired" not in text


def test_stats_show_queue_by_class_rate_and_what_was_not_captioned() -> None:
    view = make_view()
    view.feed(make_stats())
    text = shown(view)
    assert "waiting 3  ▽ 3" in text
    assert "42/min" in text
    assert "typically 0.5 s, 99 % within 1.1 s" in text
    assert "similar 7, not_an_image 5, queue_full 4" in text


def test_work_shows_camera_and_for_how_long() -> None:
    clock = make_clock()
    view = make_view(clock=clock)
    view.feed(working("front", "one"))
    view.feed(working("back", "two"))
    clock.advance(4)
    assert "working: front 7 s, back 7 s" in shown(view)
    view.feed(make_status(JobStatus.COMPLETED).model_copy(update={"job_id": "two"}))
    assert "working: front 7 s" in shown(view)
    view.feed(make_stats().model_copy(update={"active_jobs": 0}))
    assert "working" not in shown(view)


def test_captions_of_the_last_minutes_are_bars() -> None:
    clock = make_clock()
    view = make_view(clock=clock)
    view.feed(make_status(JobStatus.COMPLETED))
    clock.advance(20)
    assert "▁█▁▁" in shown(view)


def test_health_problems_come_with_their_reason() -> None:
    view = make_view()
    view.feed("online")
    checks = {
        "disk": HealthCheck(status="degraded", message="store: 92 % full"),
        "store": HealthCheck(status="healthy", message="ok"),
    }
    view.feed(Health(status="degraded", checks=checks))
    text = shown(view)
    assert "degraded disk: store: 92 % full" in text
    assert "store: ok" not in text


@pytest.mark.parametrize(
    ("documents", "word", "reason"),
    [
        ((Connected(),), "no service", "nobody speaks below this base topic"),
        ((Connected(), "offline", make_info()), "stopped", "was stopped, or lost its connection"),
        (
            (
                Connected(),
                "online",
                make_info(state="loading", message="downloading 50 %, 12 MB/s"),
            ),
            "loading",
            "██████████░░░░░░░░░░ downloading 50 %, 12 MB/s",
        ),
        (
            (Connected(), "online", make_info(state="failed", message="out of memory")),
            "failed",
            "model: out of memory",
        ),
        ((Connected(), "online", make_info()), "online", "vikhyatk/moondream2 on cuda:0, bfloat16"),
    ],
)
def test_service_that_is_not_there_stopped_loads_or_failed_are_told_apart(
    documents: tuple[Document, ...], word: str, reason: str
) -> None:
    clock = make_clock()
    view = make_view(clock=clock)
    for document in documents:
        view.feed(document)
    clock.advance(5)
    text = shown(view)
    assert f"● {word}" in text
    assert reason in text


def test_lost_broker_is_counted_until_it_is_back() -> None:
    clock = make_clock()
    view = make_view(clock=clock)
    for document in (Connected(), "online", working("front")):
        view.feed(document)
    view.feed(BrokerLost("broker 127.0.0.1:1883: refused"))
    clock.advance(5)
    view.feed(BrokerLost("broker 127.0.0.1:1883: timed out"))
    clock.advance(7)
    text = shown(view)
    assert "no broker since 12 s" in text
    assert "trying again: broker 127.0.0.1:1883: timed out" in text
    assert "working" not in text
    view.feed(Connected())
    view.feed("online")
    assert "● online" in shown(view)


def test_broker_that_came_back_without_the_service_says_so() -> None:
    clock = make_clock()
    view = make_view(clock=clock)
    for document in (Connected(), "online", make_info(), make_stats()):
        view.feed(document)
    view.feed(BrokerLost("broker 127.0.0.1:1883: refused"))
    view.feed(Connected())
    assert "● connecting" in shown(view)
    clock.advance(5)
    text = shown(view)
    assert "● no service" in text
    assert "waiting 3" not in text


@pytest.mark.parametrize("last", ["offline", BrokerLost("refused")])
def test_service_that_is_gone_does_not_load(last: Document) -> None:
    view = make_view()
    loading = make_info(state="loading", message="downloading 50 %")
    for document in (Connected(), "online", loading, last):
        view.feed(document)
    text = shown(view)
    assert "downloading" not in text
    assert "vikhyatk/moondream2 on cuda:0" in text


def test_state_that_is_no_word_of_ours_is_unknown() -> None:
    view = make_view()
    view.feed("online, and more than that " * 20)
    text = shown(view, 80, 20)
    assert text.splitlines()[0].startswith("here  ● unknown")


def test_many_problems_leave_most_of_a_small_screen_to_cameras() -> None:
    view = make_view()
    checks = {
        f"check{number}": HealthCheck(status="unhealthy", message="It is wrong. " * 20)
        for number in range(5)
    }
    for document in ("online", make_info(), Health(status="unhealthy", checks=checks)):
        view.feed(document)
    view.feed(make_result(camera_id="front_door"))
    lines = shown(view, 40, 12).splitlines()
    assert sum("check" in line or "wrong" in line for line in lines) == 2
    assert "and 3 more" in lines[4]
    assert "front_door" in lines[6]
    assert sum("wrong" in line for line in shown(view, 80, 40).splitlines()) == 8


def test_gpu_is_shown_where_there_is_one() -> None:
    view = make_view()
    gpu = Gpu(
        id=0,
        name="RTX 4090",
        memory=GpuMemory(total=24 << 30, used=6 << 30, free=18 << 30),
        temperature=61,
        utilization=GpuUtilization(gpu=45, memory=20),
        power=220.4,
    )
    view.feed(Metrics(cpu=3, memory=4, device="cuda", gpus=(gpu,), loaded_models=()))
    assert "RTX 4090  45 %  6.0 of 24.0 GiB  61 °C  220 W" in shown(view)


def test_camera_that_was_never_seen_gets_a_hint() -> None:
    clock = make_clock()
    view = make_view(clock=clock, camera="front_dor")
    view.feed(make_info())
    assert "front_dor" not in shown(view)
    clock.advance(4)
    text = " ".join(shown(view).split())
    assert "nothing of camera front_dor yet" in text
    assert "Cameras of the settings: front_door, street" in text


def test_keys_pause_and_close() -> None:
    view = make_view()
    view.feed(make_result("A cat."))
    view.press("p")
    assert "view paused" in shown(view)
    view.feed(make_result("A dog."))
    assert "A cat." in shown(view)
    view.press("p")
    assert "A dog." in shown(view)
    view.press("q")
    assert view.is_closed


@pytest.mark.parametrize("with_images", [False, True])
def test_four_cameras_of_the_demonstration_fit_with_whole_captions(with_images: bool) -> None:
    view = View(
        "moondream2mqtt demo",
        note="truth",
        clock=make_clock(),
        with_images=with_images,
        footer=["q quits, p pauses"] * 3,
    )
    for document in ("online", make_info(), make_stats(), working("front")):
        view.feed(document)
    for name in ("backyard", "driveway", "front_door", "street"):
        view.feed(make_result(LONGEST, camera_id=name, metadata={"truth": LONGEST}))
        view.feed(CameraImage(name, make_image()))
        for _ in range(1234):
            view.feed(make_status(JobStatus.COMPLETED).model_copy(update={"camera_id": name}))
    text = shown(view, 80, 24)
    lines = text.splitlines()
    assert len(lines) == 24
    assert all(cell_len(line) <= 80 for line in lines)
    words = " ".join(line.lstrip("▀ ").strip() for line in lines)
    assert words.count(LONGEST) >= 4
    assert words.count("✓ 1234") == 4
    assert ("▀▀▀▀▀▀▀▀▀▀▀" in text) is with_images


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 200])
@pytest.mark.parametrize("height", [1, 3, 8, 20, 24, 60])
@pytest.mark.parametrize("num_cameras", [1, 4, 64])
def test_screen_of_any_size_is_filled_and_never_overflows(
    width: int, height: int, num_cameras: int
) -> None:
    view = make_view(with_images=True, footer=["one", "two"])
    for document in ("online", make_info(), make_stats(), working("front")):
        view.feed(document)
    for number in range(num_cameras):
        view.feed(make_result("A long story. " * 30, camera_id=f"camera_{number}"))
    frame = view.compose(width, height)
    assert len(frame.rows) == height
    assert all(row.indent + row.text.cell_len <= width for row in frame.rows)
    assert all(place.row + place.height <= height for place in frame.places)


def test_many_cameras_show_the_urgent_and_newest_and_say_how_many_are_left_out() -> None:
    clock = make_clock(100)
    view = make_view(clock=clock)
    for number in range(64):
        at = NOON + timedelta(seconds=number)
        document = make_result(camera_id=f"camera_{number}", timestamp=at)
        priority = Priority.CRITICAL if number == 50 else Priority.LOW
        view.feed(with_priority(document, priority))
    text = shown(view, 200, 30)
    lines = text.splitlines()
    assert "▲▲ camera_50" in lines[2]
    assert "▽  camera_63" in lines[3]
    assert any("more cameras not shown" in line for line in lines)
    assert "camera_3 " not in text


def test_one_camera_too_many_is_one_camera() -> None:
    view = make_view()
    for number in range(5):
        view.feed(make_result(camera_id=f"camera_{number}"))
    assert "… and 1 more camera not shown" in shown(view, 80, 11)


@pytest.mark.parametrize("num_cameras", [4, 20])
def test_caption_that_is_cut_ends_with_a_whole_word(num_cameras: int) -> None:
    view = make_view()
    for number in range(num_cameras):
        view.feed(make_result("abcd efghi " * 100, camera_id=f"camera_{number}"))
    for width in range(100, 112):
        cut = [line.rstrip() for line in shown(view, width, 24).splitlines() if "abcd" in line]
        ends = [line for line in cut if line.endswith("…")]
        assert ends
        assert all(line.endswith((" abcd…", " efghi…")) for line in ends)


def test_long_caption_of_the_newest_camera_gets_more_lines() -> None:
    view = make_view()
    story = " ".join(f"word{number}" for number in range(40))
    for number, name in enumerate(("first", "second", "third")):
        at = NOON + timedelta(seconds=number)
        view.feed(
            make_result(story if name == "second" else "A dog.", camera_id=name, timestamp=at)
        )
    assert "…" in shown(view, 60, 15)
    view.feed(make_result(story, camera_id="second", timestamp=NOON + timedelta(seconds=9)))
    assert "word39" in shown(view, 60, 15)


HOSTILE = "a\x1b[2J\x9b5n\u202eb\nc\x07" + "\u0301" * 3000 + "[red]" + "猫" * 300


def test_hostile_text_in_every_field_reaches_no_terminal() -> None:
    view = View(HOSTILE, note="truth", clock=make_clock(), camera=HOSTILE)
    checks = {HOSTILE: HealthCheck(status="unhealthy", message=HOSTILE)}
    stats = make_stats().model_copy(update={"dropped": {HOSTILE: 1}})
    state = {"name": HOSTILE, "device": HOSTILE, "dtype": HOSTILE, "message": HOSTILE}
    gpu = Gpu(
        id=0,
        name=HOSTILE,
        memory=GpuMemory(total=1, used=1, free=0),
        temperature=None,
        utilization=None,
        power=None,
    )
    found = {"label": HOSTILE, "count": 1, "boxes": []}
    for document in (
        HOSTILE,
        stats,
        Health(status="unhealthy", checks=checks),
        Metrics(cpu=1, memory=1, device=HOSTILE, gpus=(gpu,), loaded_models=()),
        working(HOSTILE),
        BrokerLost(HOSTILE),
    ):
        view.feed(document)
    result = make_result(HOSTILE, camera_id=HOSTILE, location=HOSTILE, metadata={"truth": HOSTILE})
    data = result.model_dump(mode="json")
    data["result"]["objects"] = [found]
    for model_state in ("ready", "loading", "failed"):
        view.feed(make_info(state=model_state, **state))
        for size in ((60, 20), (200, 40)):
            assert_harmless(shown(view, *size), size[0])
    view.feed(ResultDocument.model_validate(data))
    assert_harmless(shown(view, 200, 40), 200)
    for number in range(30):
        view.feed(make_result(HOSTILE, camera_id=f"{HOSTILE}{number}"))
    assert_harmless(shown(view, 120, 30), 120)


def assert_harmless(text: str, width: int) -> None:
    lines = text.splitlines()
    assert all(letter.isprintable() for line in lines for letter in line)
    assert all(cell_len(line) <= width for line in lines)


@pytest.mark.parametrize("number", [10**4000, -(10**4000), 0], ids=["huge", "negative", "none"])
def test_extreme_numbers_and_times_are_shown_somehow(number: int) -> None:
    view = make_view()
    gpu = Gpu(
        id=0,
        name="",
        memory=GpuMemory(total=number, used=number, free=number),
        temperature=number,
        utilization=GpuUtilization(gpu=number, memory=number),
        power=1e308,
    )
    figures = {"queue_size": number, "queue_by_priority": {"low": number}, "active_jobs": number}
    view.feed(make_stats().model_copy(update={**figures, "captions_per_minute": float("nan")}))
    view.feed(Metrics(cpu=float("inf"), memory=-1, device="", gpus=(gpu,), loaded_models=()))
    for at in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"):
        view.feed(make_result(camera_id=at, timestamp=at))
        view.feed(working(at).model_copy(update={"timestamp": datetime.fromisoformat(at)}))
    for size in ((60, 20), (200, 40)):
        assert_harmless(shown(view, *size), size[0])
    for name in range(50):
        view.feed(make_result(camera_id=f"camera_{name}"))
    assert_harmless(shown(view, 200, 20), 200)


def test_hours_of_documents_leave_memory_as_it_was() -> None:
    clock = make_clock()
    view = make_view(clock=clock, with_images=True)
    jpeg = make_image(size=(64, 48))

    def live(rounds: range) -> None:
        for number in rounds:
            name = f"camera_{number % 300}"
            job = f"job-{number}"
            view.feed(working(name, job))
            view.feed(make_result(f"Caption {number}.", camera_id=name))
            view.feed(CameraImage(name, jpeg))
            view.feed(BrokerLost(f"reason {number}") if number % 50 == 0 else Connected())
            if number % 40 == 0:
                shown(view, 200, 60)
            clock.advance(1)

    live(range(300))
    tracemalloc.start()
    try:
        live(range(300, 1100))
        before = tracemalloc.get_traced_memory()[0]
        live(range(1100, 1700))
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 600_000  # of 600 rounds of some 5 kB; rich keeps 4,096 widths


def test_camera_that_is_forgotten_goes() -> None:
    view = make_view()
    view.feed(make_result("A dog.", camera_id="front"))
    view.feed(make_result("A cat.", camera_id="back"))
    view.feed(CameraForgotten("front"))
    view.feed(CameraForgotten("never seen"))
    text = shown(view)
    assert "A dog." not in text
    assert "A cat." in text


def test_view_can_be_recorded_as_a_picture() -> None:
    view = make_view(with_images=True)
    view.feed(make_result("A dog.", camera_id="front"))
    view.feed(CameraImage("front", make_image()))
    console = Console(record=True, file=io.StringIO(), width=100, height=12)
    console.print(view.render(), end="")
    svg = console.export_svg(title="moondream2mqtt watch")
    assert "A&#160;dog." in svg
    assert "▀" in svg


def test_64_cameras_take_a_small_part_of_a_core() -> None:
    clock = make_clock()
    view = make_view(clock=clock)
    screen = Screen(Console(force_terminal=True, color_system="truecolor"), Graphics())
    started = time.process_time()
    for number in range(200):  # ten seconds of twenty changes each
        name, job = f"camera_{number % 64}", f"job-{number}"
        view.feed(working(name, job))
        view.feed(make_result(f"Caption {number}. {LONGEST}", camera_id=name))
        clock.advance(0.05)
        if number % 5 == 0:
            screen.paint(view.compose(200, 60), 200, 60)
    assert (time.process_time() - started) / 10 < 0.15


def with_priority(document: ResultDocument, priority: Priority) -> ResultDocument:
    assert document.result is not None
    model_info = document.result.model_info.model_copy(update={"priority": priority})
    result = document.result.model_copy(update={"model_info": model_info})
    return document.model_copy(update={"result": result})
