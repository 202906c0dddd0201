"""An unexpected error at intake ends one frame; those beside it and behind it are accepted."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from schemas.job import JobStatus
from schemas.status import DeadLetter
from tests.boundaries.bench import (
    SECRET,
    Bench,
    assert_internal,
    boundary_bench,
    check_log,
    names,
)

ODD, EVEN = "odd-1", ("even-1", "even-2")


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    cameras = {"newest": {"newest_wins": True}}
    async with boundary_bench(tmp_path, cameras=cameras) as made:
        yield made


async def send_group(bench: Bench, **odd: Any) -> None:
    """Three frames at once, the middle one odd, and one more behind them."""
    bench.send(EVEN[0])
    bench.send(ODD, **odd)
    bench.send(EVEN[1])
    await bench.until_acknowledged(3)
    bench.send("next")
    await bench.until_acknowledged(4)
    assert bench.inbox.num_released == 4
    assert bench.inbox.acknowledged == sorted(bench.inbox.acknowledged)


@pytest.mark.parametrize(
    ("part", "method", "odd"),
    [
        ("urls", "check_webhook", {"webhook_url": "http://hooks.example/"}),
        ("urls", "check_fetch", {"frame_url": "http://nvr.example/"}),
        ("store", "known", {}),
        ("store", "accept", {}),
        ("cameras", "admit", {"camera_id": "odd"}),
        ("line", "waiting_of", {"camera_id": "newest"}),
    ],
)
async def test_frame_that_breaks_a_step_is_rejected_alone(
    bench: Bench, part: str, method: str, odd: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    named = names(ODD, "odd", "newest", "http://hooks.example/", "http://nvr.example/")
    getattr(bench, part).break_at(method, lambda first, *_: named(first))
    await send_group(bench, **odd)
    [status] = bench.statuses(ODD)
    assert_internal(status, JobStatus.REJECTED)
    for job_id in (*EVEN, "next"):
        await bench.until_status(job_id, JobStatus.QUEUED)
    await bench.until(lambda: len(bench.line) == 3)
    letters = [
        DeadLetter.model_validate_json(row.payload)
        for row in bench.outside.rows
        if row.destination == "base/bridge/dead_letter"
    ]
    assert [(each.job_id, each.error.code) for each in letters] == [(ODD, "internal")]
    check_log(caplog)
    assert not any(SECRET.encode() in row.payload for row in bench.outside.rows)


@pytest.mark.parametrize(
    ("part", "method", "odd"),
    [
        ("line", "push", {}),
        ("downloads", "add", {"frame_url": "http://nvr.example/"}),
    ],
)
async def test_frame_that_breaks_after_its_commit_fails_alone(
    bench: Bench, part: str, method: str, odd: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    getattr(bench, part).break_at(method, names(ODD))
    await send_group(bench, **odd)
    await bench.until_status(ODD, JobStatus.FAILED)
    assert_internal(bench.statuses(ODD)[0], JobStatus.FAILED)
    for job_id in (*EVEN, "next"):
        await bench.until_status(job_id, JobStatus.QUEUED)
    await bench.until(lambda: len(bench.line) == 3)
    check_log(caplog)


async def test_waiting_frame_that_cannot_be_replaced_waits_on(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.send("old", camera_id="newest")
    await bench.until_acknowledged(1)
    bench.line.break_at("replace")
    bench.send("newer", camera_id="newest")
    await bench.until_acknowledged(2)
    await bench.until(lambda: len(bench.line) == 2)
    check_log(caplog)


async def test_group_that_breaks_the_announcer_is_queued_all_the_same(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.outside.break_at("announce")
    await send_group(bench)
    await bench.until(lambda: len(bench.line) == 4)
    check_log(caplog)


async def test_frames_that_cannot_be_counted_are_accepted_once(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """What is committed stays so: it is not decided once more."""
    bench.outside.break_at("notify")
    bench.send_raw(b"no image", "noise")
    bench.send(EVEN[0])
    bench.send(EVEN[1])
    await bench.until_acknowledged(3)
    await bench.until(lambda: len(bench.line) == 2)
    counts = await bench.store.counts()
    assert counts[JobStatus.QUEUED] == sum(counts.values()) == 2
    check_log(caplog)


async def test_store_that_breaks_for_all_acknowledges_nothing_and_goes_on(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """It is not the frames' fault: they are kept until it is over, and accepted then."""
    bench.store.break_at("accept")
    bench.send(EVEN[0])
    bench.send(EVEN[1])
    await bench.until(lambda: bench.store.num_broken >= 5)
    assert bench.inbox.acknowledged == []
    bench.store.mend()
    await bench.until_acknowledged(2)
    for job_id in EVEN:
        await bench.until_status(job_id, JobStatus.QUEUED)
        assert bench.statuses(job_id) == []
    await bench.until(lambda: len(bench.line) == 2)
    check_log(caplog)
