from rich.console import Console

from schemas.frame import Priority
from schemas.job import JobStatus
from schemas.result import ModelInfo, Result, ResultDocument
from schemas.status import Health, Latency, Stats, StatusDocument
from service.commands.view import View
from tests.support.factories import NOON


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


def shown(view: View) -> str:
    console = Console(width=160)
    with console.capture() as capture:
        console.print(view.render())
    return capture.get()


def test_view_before_any_document_says_so() -> None:
    assert "no statistics yet" in shown(View("here"))


def test_result_shows_newest_caption_with_priority_and_seconds() -> None:
    view = View("here")
    view.feed(make_result("A cat."))
    view.feed(make_result("A dog."))
    text = shown(view)
    assert "A dog." in text
    assert "A cat." not in text
    assert "critical" in text
    assert "1.75" in text


def test_note_shows_that_part_of_metadata() -> None:
    view = View("here", note="truth")
    view.feed(make_result(metadata={"truth": "A wolf."}))
    assert "A wolf." in shown(view)


def test_final_statuses_are_counted_per_camera() -> None:
    view = View("here")
    for status in (JobStatus.QUEUED, JobStatus.DROPPED, JobStatus.DROPPED, JobStatus.COMPLETED):
        view.feed(make_status(status))
    text = shown(view)
    assert "2 dropped, 1 completed" in text
    assert "queued" not in text


def test_stats_show_queue_rates_and_what_was_not_captioned() -> None:
    view = View("here")
    view.feed(make_stats())
    text = shown(view)
    assert "waiting 3 (low 3)" in text
    assert "running 2 of 8" in text
    assert "42.0 captions/min" in text
    assert "high p50 0.50 s p99 1.10 s" in text
    assert "similar 7, not_an_image 5, queue_full 4" in text


def test_state_and_poor_health_are_shown() -> None:
    view = View("here")
    view.feed("offline")
    view.feed(Health(status="degraded", checks={}))
    text = shown(view)
    assert "offline" in text
    assert "degraded" in text
