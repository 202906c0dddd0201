"""What the store promises, on both databases."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, event

from schemas.frame import Priority
from schemas.job import ErrorDetail, Job, JobStatus
from schemas.outbox import Channel, OutboxMessage
from schemas.result import ResultDocument
from service.store.cameras import KeptCamera
from service.store.store import Ending, Known, Store
from tests.support.factories import NOON, make_job
from tests.support.fakes import FakeClock

pytestmark = pytest.mark.both_databases

LATER = NOON + timedelta(seconds=5)
ERROR = ErrorDetail(code="engine", message="out of luck")


def make_message(
    job_key: str | None = None, destination: str = "base/front/status", at: datetime = NOON
) -> OutboxMessage:
    return OutboxMessage(
        job_key=job_key,
        channel=Channel.MQTT,
        destination=destination,
        payload=b"{}",
        options={"qos": 1, "user_properties": [["job_id", "x"]]},
        created_at=at,
    )


def make_result(job: Job) -> ResultDocument:
    return ResultDocument(
        job_id=job.job_id,
        camera_id=job.camera_id,
        status=JobStatus.COMPLETED,
        result=None,
        error_message=None,
        timestamp=NOON,
        location=None,
        metadata={"zone": "entrance"},
    )


async def accept(store: Store, *jobs: Job) -> None:
    await store.accept(jobs, {job.key: job.key.encode() for job in jobs})


async def finished(
    store: Store, job: Job, at: datetime = LATER, status: JobStatus = JobStatus.CANCELLED
) -> None:
    await accept(store, job)
    assert await store.finish(job.key, status, at=at) is not None


def keys(jobs: Sequence[Job]) -> list[str]:
    return [job.key for job in jobs]


async def test_accept_keeps_job_frame_and_message_across_a_restart(store_url: str) -> None:
    job = make_job(
        Priority.HIGH,
        tasks=["caption", {"query": "Is it raining?"}],
        metadata={"zone": "entrance", "nested": [1, None, "\x00ü"]},
        webhook_headers={"X-Key": "1"},
        correlation_data=b"\x00\xff",
    )
    async with Store.open(store_url) as store:
        [written] = await store.accept([job], {job.key: b"\x00image"}, [make_message("x")])
    async with Store.open(store_url) as store:
        assert await store.get(job.key) == job
        assert await store.image(job.key) == b"\x00image"
        assert await store.outbox.for_broker(10) == [written]


async def test_accept_numbers_messages_in_their_order(store: Store) -> None:
    messages = [make_message(destination=f"base/{i}") for i in range(100)]
    written = await store.accept([], {}, messages)
    assert [each.destination for each in written] == [each.destination for each in messages]
    numbers = [each.message_id or 0 for each in written]
    assert numbers == sorted(set(numbers))
    assert await store.outbox.for_broker(1000) == written


async def test_accept_of_a_final_job_keeps_no_frame_and_gives_it_an_end(store: Store) -> None:
    job = make_job(status=JobStatus.DUPLICATE)
    await accept(store, job)
    assert await store.image(job.key) is None
    stored = await store.get(job.key)
    assert stored is not None
    assert stored.finished_at == job.received_at


async def test_accept_of_a_known_job_leaves_it_and_its_messages_alone(store: Store) -> None:
    job, other = make_job(), make_job()
    await store.accept([job], {job.key: b"first"}, [make_message(job.key)])
    await store.start([job.key], LATER)
    again = job.model_copy(update={"location": "Garden"})
    written = await store.accept(
        [again, other],
        {job.key: b"second", other.key: b"other"},
        [make_message(job.key), make_message(other.key), make_message(None)],
    )
    assert [message.job_key for message in written] == [other.key, None]
    stored = await store.get(job.key)
    assert stored is not None
    assert (stored.status, stored.location) == (JobStatus.PROCESSING, None)
    assert await store.image(job.key) == b"first"
    assert await store.image(other.key) == b"other"


async def test_accept_of_one_job_twice_in_a_group_keeps_the_first(store: Store) -> None:
    job = make_job()
    await store.accept([job, job.model_copy(update={"location": "Garden"})], {job.key: b"x"})
    assert await store.get(job.key) == job


async def test_one_id_of_two_cameras_is_two_jobs(store: Store) -> None:
    mine, theirs = make_job(job_id="1"), make_job(job_id="1", camera_id="garden")
    images = {mine.key: b"mine", theirs.key: b"theirs"}
    messages = [make_message(job.key) for job in (mine, theirs)]
    assert len(await store.accept([mine, theirs], images, messages)) == 2
    assert await store.existing(keys([mine, theirs])) == {mine.key: mine, theirs.key: theirs}
    [attempt] = await store.start([mine.key], LATER)
    assert (attempt.job.key, attempt.image) == (mine.key, b"mine")
    assert await store.finish(mine.key, JobStatus.FAILED, at=LATER, error=ERROR) is not None
    assert await store.get(theirs.key) == theirs
    assert keys(await store.recover()) == [theirs.key]
    assert await store.delete_finished(0) == 1
    assert await store.image(mine.key) is None
    assert await store.image(theirs.key) == b"theirs"


async def test_one_id_of_two_cameras_is_accepted_one_after_the_other(store: Store) -> None:
    mine, theirs = make_job(job_id="1"), make_job(job_id="1", camera_id="garden")
    for job in (mine, theirs):
        await store.accept([job], {job.key: job.key.encode()}, [make_message(job.key)])
    assert await store.count_jobs() == 2
    assert await store.outbox.pending_count(Channel.MQTT) == 2
    assert await store.image(theirs.key) == theirs.key.encode()


async def test_known_tells_stored_jobs_from_the_same_ids_of_other_cameras(store: Store) -> None:
    assert await store.known(["front/1"]) == Known()
    cameras = {"1": ["front", "garden"], "2": ["front"], "3": ["garden", "street"]}
    await accept(
        store,
        *(make_job(job_id=each, camera_id=camera) for each in cameras for camera in cameras[each]),
    )
    asked = ["front/1", "front/2", "front/3", "front/4"]
    assert await store.known(asked) == Known(
        keys=frozenset({"front/1", "front/2"}), elsewhere=frozenset({"front/1", "front/3"})
    )
    many = [f"front/{number}" for number in range(1200)]  # more than one statement holds
    assert await store.known(many) == await store.known(asked)


async def test_accept_without_an_image_waits_for_it(store: Store) -> None:
    job = make_job()
    await store.accept([job], {})
    assert await store.image(job.key) is None
    assert await store.add_image(job.key, b"late")
    assert await store.image(job.key) == b"late"
    assert not await store.add_image(job.key, b"again")
    assert not await store.add_image("unknown", b"x")


async def test_accept_keeps_many_at_once(store: Store) -> None:
    jobs = [make_job() for _ in range(1200)]  # more than one IN list holds
    await accept(store, *jobs)
    assert len(await store.existing([*keys(jobs), "unknown"])) == 1200
    assert len(await store.start(keys(jobs), LATER)) == 1200
    assert store.bytes_accepted == await store.frame_bytes() == sum(map(len, keys(jobs)))


async def test_start_counts_the_attempt_of_queued_jobs_only(store: Store) -> None:
    first, second, ended = make_job(), make_job(), make_job()
    await accept(store, first, second, ended)
    await store.finish(ended.key, JobStatus.CANCELLED, at=LATER)
    attempts = await store.start([*keys([second, ended, first]), "unknown"], LATER)
    started = [attempt.job for attempt in attempts]
    assert keys(started) == keys([second, first])
    assert {(job.status, job.attempts, job.started_at) for job in started} == {
        (JobStatus.PROCESSING, 1, LATER)
    }
    assert await store.start([first.key], LATER) == []


async def test_start_reads_the_images_that_are_kept(store: Store) -> None:
    with_image, without = make_job(), make_job()
    await store.accept([with_image, without], {with_image.key: b"jpeg"})
    attempts = await store.start(keys([without, with_image]), LATER)
    assert [(each.job.key, each.image) for each in attempts] == [
        (without.key, None),
        (with_image.key, b"jpeg"),
    ]


async def complete(store: Store, job: Job, fingerprint: bytes | None) -> None:
    await accept(store, job)
    await store.start([job.key], LATER)
    ending = Ending(job.key, JobStatus.COMPLETED, LATER, fingerprint=fingerprint)
    assert await store.finish_many([ending])


async def test_last_captioned_is_the_newest_with_a_fingerprint(store_url: str) -> None:
    clock = FakeClock(NOON)
    async with Store.open(store_url, clock=clock) as store:
        for number, fingerprint in enumerate((b"old", b"new", None)):
            await complete(store, make_job(Priority.HIGH, job_id=f"{number}"), fingerprint)
            clock.advance(10)
        await complete(store, make_job(camera_id="garden"), b"green")
        await complete(store, make_job(camera_id="street"), None)
        clock.advance(5)
    async with Store.open(store_url, clock=clock) as store:  # also after a restart
        found = await store.last_captioned(["front", "garden", "street", "nowhere"])
    assert set(found) == {"front", "garden"}
    last = found["front"]
    assert (last.job_key, last.fingerprint, last.priority) == ("front/1", b"new", Priority.HIGH)
    assert last.age_s == pytest.approx(25)


@pytest.mark.parametrize("change", ["ended = 'x'", "priority = 77", "fingerprint = 'text'"])
async def test_last_captioned_that_cannot_be_read_is_none(tmp_path: Path, change: str) -> None:
    path = tmp_path / "store.db"  # SQLite keeps any type in any column
    async with Store.open(path) as store:
        for camera_id in ("front", "garden"):
            await complete(store, make_job(camera_id=camera_id), b"print")
        with closing(sqlite3.connect(path)) as other, other:
            other.execute(f"UPDATE jobs SET {change} WHERE camera_id = 'front'")  # noqa: S608
        assert set(await store.last_captioned(["front", "garden"])) == {"garden"}


@pytest.mark.parametrize(
    ("options", "attempts", "losses", "error"),
    [
        ({}, 1, 0, None),
        ({"refund": True}, 0, 0, None),
        ({"count_loss": True}, 1, 1, None),
        ({"error": ERROR}, 1, 0, ERROR),
    ],
)
async def test_requeue_takes_processing_jobs_back(
    store: Store,
    options: dict[str, object],
    attempts: int,
    losses: int,
    error: ErrorDetail | None,
) -> None:
    job, waiting = make_job(), make_job()
    await accept(store, job, waiting)
    await store.start([job.key], LATER)
    [back] = await store.requeue(keys([job, waiting]), **options)  # type: ignore[arg-type]
    assert back.key == job.key
    assert (back.status, back.attempts, back.engine_losses, back.error) == (
        JobStatus.QUEUED,
        attempts,
        losses,
        error,
    )
    assert await store.get(job.key) == back


async def test_start_forgets_the_error_of_the_attempt_before(store: Store) -> None:
    job = make_job()
    await accept(store, job)
    await store.start([job.key], LATER)
    await store.requeue([job.key], error=ErrorDetail(code="engine", message="no"))
    await store.start([job.key], LATER)
    again = await store.get(job.key)
    assert again is not None
    assert (again.attempts, again.error) == (2, None)


async def test_finish_writes_end_result_and_messages_together(store: Store) -> None:
    job = make_job()
    await accept(store, job)
    await store.start([job.key], NOON)
    ended = await store.finish(
        job.key,
        JobStatus.COMPLETED,
        at=LATER,
        result=make_result(job),
        messages=[make_message(job.key, "a"), make_message(job.key, "b")],
    )
    assert ended is not None
    stored, messages = ended
    assert (stored.status, stored.finished_at) == (JobStatus.COMPLETED, LATER)
    assert await store.get(job.key) == stored
    assert await store.result(job.key) == make_result(job)
    assert [message.destination for message in messages] == ["a", "b"]
    assert await store.outbox.for_broker(10) == messages
    assert await store.image(job.key) is not None  # kept for a retry


@pytest.mark.parametrize("second", [status for status in JobStatus if status.is_final])
async def test_finish_of_a_finished_job_writes_nothing(store: Store, second: JobStatus) -> None:
    job = make_job()
    await accept(store, job)
    await store.start([job.key], NOON)
    await store.finish(job.key, JobStatus.FAILED, at=LATER, error=ERROR)
    before = await store.get(job.key)
    message = make_message(job.key)
    again = await store.finish(
        job.key, second, at=LATER + timedelta(1), result=make_result(job), messages=[message]
    )
    assert again is None
    assert await store.get(job.key) == before
    assert await store.result(job.key) is None
    assert await store.outbox.pending_count(Channel.MQTT) == 0


async def test_finish_as_completed_needs_a_running_job(store: Store) -> None:
    job = make_job()
    await accept(store, job)
    assert await store.finish(job.key, JobStatus.COMPLETED, at=LATER) is None
    assert await store.finish("unknown", JobStatus.FAILED, at=LATER) is None


async def test_finish_many_returns_those_that_ended(store: Store) -> None:
    jobs = [make_job() for _ in range(3)]
    await accept(store, *jobs)
    await store.finish(jobs[1].key, JobStatus.EXPIRED, at=LATER)
    endings = [
        Ending(key, JobStatus.DROPPED, LATER, ERROR, messages=[make_message(key)])
        for key in [*keys(jobs), jobs[0].key, "unknown"]
    ]
    ended = await store.finish_many(endings)
    assert [job.key for job, _ in ended] == [jobs[0].key, jobs[2].key]
    assert [message.job_key for _, [message] in ended] == [jobs[0].key, jobs[2].key]
    assert await store.finish_many([]) == []


async def test_finish_drops_the_frame_where_finished_frames_are_not_kept(store: Store) -> None:
    job = make_job()
    await accept(store, job)
    store.keep_finished_frames = False
    await store.finish(job.key, JobStatus.CANCELLED, at=LATER)
    assert await store.image(job.key) is None


async def test_recover_takes_back_what_was_running(store_url: str) -> None:
    late, early, running, ended = (make_job(arrived_monotonic=second) for second in (3, 1, 2, 0))
    async with Store.open(store_url) as store:
        await accept(store, late, early, running, ended)
        await store.start([running.key], LATER)
        await store.finish(ended.key, JobStatus.DROPPED, at=LATER)
    async with Store.open(store_url) as store:
        recovered = await store.recover()
        assert keys(recovered) == keys([early, running, late])
        again = recovered[1]
        assert (again.status, again.attempts, again.engine_losses) == (JobStatus.QUEUED, 1, 0)
        assert await store.recover() == recovered


async def test_same_content_finds_the_newest_that_stands_for_it(store_url: str) -> None:
    sha = "a" * 64
    old, newer = make_job(content=sha), make_job(content=sha)
    elsewhere = make_job(content=sha, camera_id="garden")
    clock = FakeClock(NOON)
    async with Store.open(store_url, clock=clock) as store:
        await accept(store, old)
        clock.advance(5)
        await accept(store, newer, elsewhere)
        key = ("front", sha)
        asked = [key, ("street", sha), ("front", "b" * 64)]
        assert await store.same_content(asked, 5) == {key: newer.key}
        await store.finish(newer.key, JobStatus.FAILED, at=LATER)
        assert await store.same_content(asked, 5) == {key: old.key}
        assert await store.same_content(asked, 4.9) == {}
        assert await store.same_content([], 5) == {}


async def test_list_jobs_filters_orders_and_pages(store: Store) -> None:
    jobs = [
        make_job(
            Priority(i % 4),
            camera_id="garden" if i % 2 else "front",
            received_at=NOON + timedelta(seconds=i),
        )
        for i in range(10)
    ]
    await accept(store, *jobs)
    assert keys(await store.list_jobs(limit=3, offset=2)) == keys(jobs[2:5])
    newest = await store.list_jobs(camera_id="garden", descending=True, limit=2)
    assert keys(newest) == keys([jobs[9], jobs[7]])
    urgent = await store.list_jobs(order_by="priority", descending=True, limit=3)
    assert keys(urgent) == keys([jobs[7], jobs[3], jobs[6]])
    await store.finish(jobs[4].key, JobStatus.DROPPED, at=LATER)
    assert keys(await store.list_jobs(status=JobStatus.DROPPED)) == [jobs[4].key]
    assert await store.count_jobs(status=JobStatus.QUEUED) == 9
    assert await store.count_jobs(priority=Priority.LOW, camera_id="front") == 3


async def test_list_jobs_by_end_puts_the_unfinished_last_when_descending(store: Store) -> None:
    first, second, waiting = make_job(), make_job(), make_job()
    await accept(store, waiting)
    await finished(store, first, at=NOON)
    await finished(store, second, at=LATER)
    listed = await store.list_jobs(order_by="finished_at", descending=True)
    assert keys(listed) == keys([second, first, waiting])


async def test_counts_name_every_status(store: Store) -> None:
    await accept(store, make_job(), make_job())
    await finished(store, make_job())
    counts = await store.counts()
    assert set(counts) == set(JobStatus)
    assert counts[JobStatus.QUEUED] == 2
    assert counts[JobStatus.CANCELLED] == 1
    assert sum(counts.values()) == 3


async def test_camera_override_replaces_the_one_before(store: Store) -> None:
    await store.set_camera_override("front", {"cooldown": 5.0})
    await store.set_camera_override("front", {"prompt": "Who?"})
    await store.set_camera_override("garden", {"enabled": False})
    assert await store.kept_cameras() == {
        "front": KeptCamera(overrides={"prompt": "Who?"}),
        "garden": KeptCamera(overrides={"enabled": False}),
    }


async def test_cameras_are_kept_with_the_moment_of_their_newest_frame(store_url: str) -> None:
    clock = FakeClock(NOON)
    async with Store.open(store_url, clock=clock) as store:
        await store.set_camera_override("front", {"cooldown": 5.0})
        seen = {"front": clock.monotonic(), "garden": clock.monotonic() - 60}
        await store.save_cameras(seen, {})
        await store.save_cameras({"garden": clock.monotonic() - 50}, {})
        await store.keep_time()
    clock.reboot()
    clock.set_now(NOON + timedelta(seconds=100))
    async with Store.open(store_url, clock=clock) as store:
        kept = await store.kept_cameras()
        assert kept["front"].overrides == {"cooldown": 5.0}
        ages = {name: clock.monotonic() - (each.seen or 0) for name, each in kept.items()}
        assert ages == pytest.approx({"front": 100, "garden": 150}, abs=0.01)


async def test_forgotten_camera_leaves_what_must_go_out(store: Store) -> None:
    await store.save_cameras({"front": 100.0, "garden": 200.0}, {})
    letters = [make_message("front")]
    written = await store.save_cameras({}, {"front": (100.0, letters), "nobody": (0.0, letters)})
    assert len(written) == 1
    assert list(await store.kept_cameras()) == ["garden"]


async def test_camera_that_another_service_has_seen_since_is_not_forgotten(store: Store) -> None:
    await store.save_cameras({"front": 200.0}, {})
    assert await store.save_cameras({}, {"front": (100.0, [make_message("front")])}) == []
    assert list(await store.kept_cameras()) == ["front"]


async def test_delete_finished_takes_the_oldest_with_their_frames(store_url: str) -> None:
    jobs = [make_job() for _ in range(4)]
    clock = FakeClock(NOON)
    async with Store.open(store_url, clock=clock) as store:
        waiting = make_job(received_at=NOON - timedelta(days=30))
        await accept(store, waiting)
        for job in jobs:
            await finished(store, job, at=NOON)
            clock.advance(1)
        assert await store.delete_finished(2, limit=2) == 2
        assert set(await store.existing(keys(jobs))) == set(keys(jobs[2:]))
        assert await store.image(jobs[0].key) is None
        assert await store.delete_finished(2) == 1
        assert await store.delete_finished(2) == 0
        assert await store.image(waiting.key) is not None


async def test_drop_finished_frames_stops_at_the_target(store: Store) -> None:
    jobs = [make_job() for _ in range(120)]  # more than one step
    await store.accept(jobs, {job.key: bytes(1000) for job in jobs})
    for job in jobs[:110]:
        await store.finish(job.key, JobStatus.CANCELLED, at=LATER)
    assert await store.frame_bytes() == 120_000
    assert await store.drop_finished_frames(119_500) == 1
    assert await store.drop_finished_frames(50_000) == 69
    assert await store.frame_bytes() == 50_000
    assert await store.drop_finished_frames(0) == 40
    assert await store.frame_bytes() == 10_000  # the waiting ones
    assert await store.get(jobs[0].key) is not None  # the job itself stays


async def test_drop_finished_frames_takes_the_oldest_first(store: Store) -> None:
    older, newer = make_job(), make_job()
    await finished(store, older, at=LATER)
    await finished(store, newer, at=NOON)  # the clock was set back
    await store.drop_finished_frames(len(newer.key))
    assert await store.image(older.key) is None
    assert await store.image(newer.key) is not None


@contextmanager
def noted_statements() -> Iterator[set[str]]:
    """Every distinct statement that goes to a database meanwhile."""
    noted: set[str] = set()

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        noted.add(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield noted
    finally:
        event.remove(Engine, "before_cursor_execute", note)


async def test_the_number_of_jobs_makes_few_different_statements(store: Store) -> None:
    # Connections keep what they have prepared, a hundred or so each, some as large as the group.
    with noted_statements() as statements:
        for count in range(1, 81):
            jobs = [make_job() for _ in range(count)]
            await store.accept(jobs, {}, [make_message(job.key) for job in jobs])
            await store.start(keys(jobs), LATER)
            endings = [
                Ending(job.key, JobStatus.FAILED, LATER, messages=[make_message(job.key)])
                for job in jobs
            ]
            ended = await store.finish_many(endings)
            await store.outbox.sent([message.row_id for _, each in ended for message in each])
            assert len(await store.existing(keys(jobs))) == count
    assert len(statements) < 80  # fewer than a connection keeps
    assert max(map(len, statements)) < 4000
