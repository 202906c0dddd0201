"""A clock that is wrong, or is set, delays, ends and deletes nothing.

Each part on a real SQLite file; the time of day jumps while the parts run, and between two runs on
the same file. A minute is what may be lost where power fails between two notes of the time.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from schemas.job import Job, JobStatus
from schemas.outbox import Channel, OutboxMessage
from service.queue.tickets import ticket_of
from service.settings import StoreSettings
from service.store.retention import Retention
from service.store.store import Store
from tests.support.factories import NOON, make_job
from tests.support.fakes import FakeClock
from tests.support.http_receivers import Receiver, Request, answers, in_turn
from tests.support.webhook_bench import Bench, webhook_bench

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0

FAR = [
    pytest.param(datetime(1970, 1, 1, 0, 1, tzinfo=UTC), id="1970"),
    pytest.param(datetime(2100, 1, 1, tzinfo=UTC), id="2100"),
]
jumps = pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(NOON - timedelta(days=1), id="a-day-back"),
        pytest.param(NOON + timedelta(days=1), id="a-day-ahead"),
        pytest.param(NOON - timedelta(days=3652), id="ten-years-back"),
        pytest.param(NOON + timedelta(days=3652), id="ten-years-ahead"),
        *FAR,
    ],
)


@asynccontextmanager
async def open_store(folder: Path, clock: FakeClock) -> AsyncIterator[Store]:
    async with Store.open(f"sqlite:///{folder / 'jobs.db'}", clock=clock) as store:
        yield store


async def accept(store: Store, clock: FakeClock, **fields: Any) -> Job:
    job = make_job(received_at=clock.now(), arrived_monotonic=clock.monotonic(), **fields)
    await store.accept([job], {job.key: b"frame"})
    return job


# The broker


@jumps
async def test_message_for_the_broker_is_sent_in_its_turn(tmp_path: Path, wrong: datetime) -> None:
    clock = FakeClock(wrong)
    async with open_store(tmp_path, clock) as store:
        [first] = await store.accept([], {}, [to_broker(clock)])
    clock.set_now(NOON)
    async with open_store(tmp_path, clock) as store:
        [second] = await store.accept([], {}, [to_broker(clock)])
        assert await store.outbox.for_broker(10) == [first, second]


def to_broker(clock: FakeClock) -> OutboxMessage:
    return OutboxMessage(
        job_key=None,
        channel=Channel.MQTT,
        destination="base/front/status",
        payload=b"{}",
        created_at=clock.now(),
    )


# Webhooks


@jumps
async def test_webhook_written_before_a_jump_is_sent_at_once(
    tmp_path: Path, wrong: datetime
) -> None:
    clock = FakeClock(NOON)
    async with Receiver() as receiver:
        await receiver.stop()
        async with webhook_bench(tmp_path, clock=clock) as bench:
            await bench.post(receiver.url, 3)
            await bench.until_failing()
        await receiver.start()
        clock.set_now(wrong)
        async with webhook_bench(tmp_path, clock=clock) as bench:
            await bench.until_pending(0)
            assert bench.letters == []


@jumps
async def test_webhook_is_tried_again_after_its_pause_whatever_the_clock_shows(
    tmp_path: Path, wrong: datetime
) -> None:
    clock = FakeClock(NOON)
    async with (
        Receiver(answers(503)) as receiver,
        webhook_bench(tmp_path, clock=clock) as bench,
    ):
        await bench.post(receiver.url, 3)
        await bench.until_failing()
        clock.set_now(wrong)
        receiver.behave = answers(200)
        bench.turn(1.3)
        await bench.until_pending(0)
        assert bench.letters == []


@jumps
async def test_webhook_that_stepped_aside_comes_back_after_its_pause(
    tmp_path: Path, wrong: datetime
) -> None:
    clock = FakeClock(NOON)
    async with Receiver(answers(500)) as receiver:
        async with webhook_bench(tmp_path, clock=clock) as bench:
            await bench.post(receiver.url)
            await bench.turn_until(5, lambda: len(receiver.requests) == 4)
            receiver.behave = in_turn(answers(500), answers(200), answers(500))
            await bench.post(receiver.url)
            await bench.turn_until(20, lambda: len(receiver.requests) == 6)
            await bench.until_pending(1)
            assert await bench.attempts() == [5]
            await bench.store.keep_time()
        clock.set_now(wrong)
        receiver.behave = answers(200)
        async with webhook_bench(tmp_path, clock=clock) as bench:
            await bench.turn_until(1, lambda: len(receiver.requests) == 7)
            assert clock.now() - wrong < timedelta(minutes=1)
            await bench.until_pending(0)


@pytest.mark.parametrize("wrong", FAR)  # each has a day to pass
async def test_webhook_is_given_up_after_a_day_of_trying_and_not_before(
    tmp_path: Path, wrong: datetime
) -> None:
    clock = FakeClock(NOON)
    async with Receiver(answers(503)) as receiver:
        async with webhook_bench(tmp_path, clock=clock) as bench:
            await bench.post(receiver.url, 3)
            await bench.until_failing()
            await pass_time(bench, 12 * HOUR)
            clock.set_now(wrong)
            await bench.store.keep_time()
        num_requests = len(receiver.requests)
        async with webhook_bench(tmp_path, clock=clock) as bench:
            await pass_time(bench, 11.5 * HOUR)
            assert bench.letters == []
            assert await bench.pending() == 3
            assert len(receiver.requests) > num_requests + 10
            await pass_time(bench, 1 * HOUR)
            await bench.until_pending(0)
            assert len(bench.letters) == 3


async def pass_time(bench: Bench, seconds: float) -> None:
    """Let time pass in half hours, with the attempts that are due."""
    for _ in range(round(seconds / 1800)):
        await bench.pass_time(1800)


@jumps
async def test_retry_after_is_measured_on_the_receivers_clock(
    tmp_path: Path, wrong: datetime
) -> None:
    head = f"Date: {_date(NOON)}\r\nRetry-After: {_date(NOON + timedelta(minutes=2))}\r\n"
    behave = in_turn(answers(503, head), answers(200))
    clock = FakeClock(wrong)
    async with Receiver(behave) as receiver, webhook_bench(tmp_path, clock=clock) as bench:
        await bench.post(receiver.url)
        await bench.until_failing()
        bench.turn(119)
        await asyncio.sleep(0.1)
        assert len(receiver.requests) == 1
        bench.turn(26)
        await bench.until_pending(0)


@jumps
async def test_signature_refused_because_of_the_clock_is_tried_again(
    tmp_path: Path, wrong: datetime
) -> None:
    async def verify(request: Request, writer: asyncio.StreamWriter) -> None:
        age = NOON.timestamp() - int(request.headers["webhook-timestamp"])
        await answers(200 if abs(age) < 300 else 401, f"Date: {_date(NOON)}\r\n")(request, writer)

    clock = FakeClock(wrong)
    async with Receiver(verify) as receiver, webhook_bench(tmp_path, clock=clock) as bench:
        await bench.post(receiver.url)
        await bench.until_failing()
        clock.set_now(NOON)
        bench.turn(1.3)
        await bench.until_pending(0)
        assert bench.letters == []


async def test_refused_while_the_clocks_agree_is_given_up(tmp_path: Path) -> None:
    behave = answers(401, f"Date: {_date(NOON - timedelta(minutes=4))}\r\n")
    async with Receiver(behave) as receiver, webhook_bench(tmp_path) as bench:
        await bench.post(receiver.url)
        await bench.until_pending(0)
        assert [letter.error.code for letter in bench.letters] == ["receiver_gone"]


def _date(moment: datetime) -> str:
    return format_datetime(moment, usegmt=True)


# Jobs


@jumps
async def test_job_expires_on_time_over_a_restart(tmp_path: Path, wrong: datetime) -> None:
    clock = FakeClock(NOON)
    async with open_store(tmp_path, clock) as store:
        await accept(store, clock, max_age=300)
        clock.advance(100)
        clock.set_now(wrong)
        clock.advance(20)
    clock.advance(50)
    clock.set_now(NOON + timedelta(days=77))
    async with open_store(tmp_path, clock) as store:
        [job] = await store.recover()
        assert ticket_of(job, clock).expires_at - clock.monotonic() == pytest.approx(130)


@jumps
async def test_job_after_a_restart_of_the_machine_is_at_most_a_day_older(
    tmp_path: Path, wrong: datetime
) -> None:
    clock = FakeClock(NOON)
    async with open_store(tmp_path, clock) as store:
        await accept(store, clock, max_age=300)
        clock.advance(100)
        await store.keep_time()
    clock.set_now(wrong)
    clock.reboot()
    async with open_store(tmp_path, clock) as store:
        [job] = await store.recover()
        age = clock.monotonic() - ticket_of(job, clock).queued_at
        assert age == pytest.approx(100 if wrong < NOON else 100 + DAY, abs=2 * MINUTE)


@jumps
async def test_job_is_its_pictures_duplicate_for_the_window_and_no_longer(
    tmp_path: Path, wrong: datetime
) -> None:
    clock = FakeClock(NOON)
    async with open_store(tmp_path, clock) as store:
        job = await accept(store, clock)
        clock.set_now(wrong)
        clock.advance(290)
        assert await store.same_content([("front", job.content)], 300) != {}
        clock.advance(20)
        assert await store.same_content([("front", job.content)], 300) == {}


# Retention


@jumps
async def test_finished_jobs_are_kept_for_their_time(tmp_path: Path, wrong: datetime) -> None:
    clock = FakeClock(NOON)
    settings = StoreSettings(keep_finished=DAY, min_free_bytes=0)
    async with open_store(tmp_path, clock) as store:
        job = await accept(store, clock)
        await store.finish(job.key, JobStatus.CANCELLED, at=clock.now())
        clock.set_now(wrong)
        await Retention(store, settings, clock).sweep()
        assert await store.get(job.key) is not None
    clock.advance(DAY - HOUR)
    clock.set_now(NOON)
    async with open_store(tmp_path, clock) as store:
        await Retention(store, settings, clock).sweep()
        assert await store.get(job.key) is not None
        clock.advance(HOUR)
        clock.set_now(wrong)
        await Retention(store, settings, clock).sweep()
        assert await store.get(job.key) is None


@jumps
async def test_finished_jobs_are_bounded_in_number(tmp_path: Path, wrong: datetime) -> None:
    clock = FakeClock(NOON)
    settings = StoreSettings(min_free_bytes=0)
    async with open_store(tmp_path, clock) as store:
        for _ in range(20):
            job = await accept(store, clock)
            await store.finish(job.key, JobStatus.CANCELLED, at=clock.now())
        clock.set_now(wrong)
        await Retention(store, settings, clock, most_finished=5).sweep()
        assert (await store.counts())[JobStatus.CANCELLED] == 5
