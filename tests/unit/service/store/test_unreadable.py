"""A row that cannot be read: every reader goes on without it, and it ends once, with last words."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, text

from schemas.job import ErrorDetail, Job, JobStatus
from schemas.outbox import Channel, OutboxMessage
from service.store.database import Database
from service.store.set_aside import SetAside
from service.store.store import Ending, Store
from service.store.unreadable import UnreadableRow
from tests.support.factories import NOON, make_job
from tests.unit.service.store.test_store import make_message, make_result

LATER = NOON + timedelta(seconds=5)

#: What can stand in a job's row; only SQLite lets those from `bytes` on.
DAMAGE = {
    "no JSON": "document = '{'",
    "no object": "document = '[]'",
    "no fields": "document = '{}'",
    "task": """document = replace(document, '["caption"]', '[{"query": ""}]')""",
    "priority": "document = replace(document, '\"normal\"', '\"urgent\"')",
    "age": "document = replace(document, '\"max_age\":300.0', '\"max_age\":null')",
    "year": "document = replace(document, '2026-', '92026-')",
    "camera": "document = replace(document, '\"front\"', '\"a/b\"')",
    "other camera": "camera_id = 'garden'",
    "status": "status = 'exploded'",
    "time": "started_at = 9223372036854775807",
    "time before time": "started_at = -9223372036854775808",
    "error": "error = '[]'",
    "bytes": "document = x'ff'",
    "no UTF-8": "document = cast(x'7bff7d' AS TEXT)",
    "number": "document = 5",
    "attempts": "attempts = 'many'",
    "losses": "engine_losses = 1.5",
    "moment": "started_at = 'now'",
}


class Words:
    """Says one thing for each row, and remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[SetAside] = []

    def __call__(self, lost: SetAside) -> Sequence[OutboxMessage]:
        self.told.append(lost)
        return [make_message(lost.job_id, "last/words")]


async def update(store_url: str, table: str, change: str, column: str, key: object) -> None:
    escaped = change.replace(":", "\\:")  # no parameters in there
    statement = text(f"UPDATE {table} SET {escaped} WHERE {column} = :key")  # noqa: S608

    def run(connection: Connection) -> None:
        assert connection.execute(statement, {"key": key}).rowcount == 1

    async with Database(store_url) as database:
        await database.write(run)


async def spoil(store_url: str, job: Job, change: str) -> None:
    await update(store_url, "jobs", change, "job_id", job.job_id)


async def make_jobs(store_url: str, *, are_running: bool = False) -> list[Job]:
    jobs = [make_job(received_at=NOON + timedelta(seconds=second)) for second in range(3)]
    async with Store.open(store_url) as store:
        await store.accept(jobs, {job.key: b"four" for job in jobs})
        if are_running:
            await store.start([job.key for job in jobs], NOON)
    return jobs


async def noted(store: Store) -> UnreadableRow:
    return await store.unreadable.next()


@pytest.mark.parametrize("damage", DAMAGE)
async def test_recover_returns_the_rest_and_the_damaged_job_ends(
    store_url: str, damage: str
) -> None:
    first, bad, last = await make_jobs(store_url)
    await spoil(store_url, bad, DAMAGE[damage])
    words = Words()
    async with Store.open(store_url) as store:
        assert [job.key for job in await store.recover()] == [first.key, last.key]
        found = await store.set_aside(await noted(store), LATER, words)
        assert found is not None
        [lost], (_, messages) = words.told, found
        ended = await store.get(bad.key)
        assert ended is not None
        assert (ended.status, ended.finished_at) == (JobStatus.FAILED, LATER)
        assert ended.error == lost.error
        assert lost.error.code == "unreadable"
        assert (lost.job, lost.size) == (ended, 4)
        assert await store.outbox.for_broker(10) == messages
        assert await store.image(bad.key) == b"four"  # as that of any job that failed
        assert (await store.counts())[JobStatus.FAILED] == 1
        assert [job.key for job in await store.recover()] == [first.key, last.key]
        assert len(await store.list_jobs()) == 3


_READERS: dict[str, Callable[[Store, list[str]], Awaitable[Any]]] = {
    "existing": lambda store, ids: store.existing(ids),
    "start": lambda store, ids: store.start(ids, LATER),
    "list": lambda store, ids: store.list_jobs(),
    "finish": lambda store, ids: store.finish_many(
        [Ending(each, JobStatus.CANCELLED, LATER) for each in ids]
    ),
}


@pytest.mark.parametrize(
    ("reader", "damage"),
    [
        *((reader, "task") for reader in _READERS),
        # A row like these is not started, or mended by it.
        *(
            (reader, damage)
            for reader in _READERS
            if reader != "start"
            for damage in ("error", "status", "time")
        ),
        *((reader, "no UTF-8") for reader in _READERS),
    ],
)
async def test_every_reader_leaves_the_damaged_job_out(
    store_url: str, reader: str, damage: str
) -> None:
    jobs = await make_jobs(store_url)
    await spoil(store_url, jobs[1], DAMAGE[damage])
    ids = [job.key for job in jobs]
    async with Store.open(store_url) as store:
        found = await _READERS[reader](store, ids)
        names = {str(each) for each in found} if isinstance(found, dict) else set(map(str, found))
        assert len(names) == 2
        assert not any(jobs[1].key in name for name in names)
        assert (await noted(store)).key[-1] == jobs[1].key
        await _READERS[reader](store, ids)  # met again, noted once
        assert store.unreadable.is_empty


@pytest.mark.both_databases
async def test_requeue_leaves_the_damaged_job_out(store_url: str) -> None:
    jobs = await make_jobs(store_url, are_running=True)
    await spoil(store_url, jobs[1], DAMAGE["task"])
    async with Store.open(store_url) as store:
        back = await store.requeue([job.key for job in jobs], refund=True)
        assert [job.key for job in back] == [jobs[0].key, jobs[2].key]
        assert (await noted(store)).key[-1] == jobs[1].key


async def test_image_of_a_damaged_job_is_not_added(store_url: str) -> None:
    job = make_job()
    async with Store.open(store_url) as store:
        await store.accept([job], {})
    await spoil(store_url, job, DAMAGE["no JSON"])
    async with Store.open(store_url) as store:
        assert not await store.add_image(job.key, b"late")
        assert (await noted(store)).key[-1] == job.key


@pytest.mark.both_databases
async def test_frame_of_a_damaged_job_goes_where_finished_frames_are_not_kept(
    store_url: str,
) -> None:
    _, bad, _ = await make_jobs(store_url)
    await spoil(store_url, bad, DAMAGE["task"])
    async with Store.open(store_url) as store:
        store.keep_finished_frames = False
        await store.recover()
        await store.set_aside(await noted(store), LATER, Words())
        assert await store.image(bad.key) is None


@pytest.mark.both_databases
async def test_set_aside_again_says_nothing_again(store_url: str) -> None:
    _, bad, _ = await make_jobs(store_url)
    await spoil(store_url, bad, DAMAGE["task"])
    async with Store.open(store_url) as store:
        await store.recover()
        row = await noted(store)
        assert await store.set_aside(row, LATER, Words()) is not None
        assert await store.set_aside(row, LATER, Words()) is None
        assert await store.outbox.pending_count(Channel.MQTT) == 1


@pytest.mark.parametrize("change", ["document = '{'", "error = '[]'", "status = 'exploded'"])
async def test_damaged_job_that_had_ended_keeps_its_end(store_url: str, change: str) -> None:
    job = make_job()
    words = Words()
    async with Store.open(store_url) as store:
        await store.accept([job], {job.key: b"x"})
        error = ErrorDetail(code="cancelled", message="by request")
        await store.finish(job.key, JobStatus.CANCELLED, at=NOON, error=error)
    await spoil(store_url, job, change)
    async with Store.open(store_url, instance="new name") as store:
        assert await store.list_jobs() == []
        assert await store.set_aside(await noted(store), LATER, words) is None
        [ended] = await store.list_jobs()
        assert ended.status in {JobStatus.CANCELLED, JobStatus.FAILED}
        assert ended.finished_at == NOON
        assert words.told == []
        assert await store.outbox.pending_count(Channel.MQTT) == 0


@pytest.mark.both_databases
async def test_damaged_result_is_forgotten_and_its_job_stays(store_url: str) -> None:
    job = make_job()
    async with Store.open(store_url) as store:
        await store.accept([job], {job.key: b"x"})
        await store.start([job.key], NOON)
        await store.finish(job.key, JobStatus.COMPLETED, at=NOON, result=make_result(job))
        before = await store.get(job.key)
    await spoil(store_url, job, "result = '{\"job_id\": 5}'")
    async with Store.open(store_url) as store:
        assert await store.result(job.key) is None
        assert await store.set_aside(await noted(store), LATER, Words()) is None
        assert await store.get(job.key) == before
        assert await store.result(job.key) is None
        assert store.unreadable.is_empty


@pytest.mark.both_databases
async def test_job_without_a_usable_key_is_deleted_with_its_final_messages(store_url: str) -> None:
    bad, good = make_job(), make_job()
    async with Store.open(store_url) as store:
        await store.accept([bad, good], {good.key: b"four"})
    await spoil(store_url, bad, "job_key = 'nokey'")
    words = Words()
    async with Store.open(store_url) as store:
        assert [job.key for job in await store.recover()] == [good.key]
        assert await store.set_aside(await noted(store), LATER, words) is not None
        assert (words.told[0].job, words.told[0].job_id) == (None, None)
        assert await store.count_jobs() == 1


@pytest.mark.both_databases
async def test_rows_of_another_instance_are_left_to_it(store_url: str) -> None:
    job = make_job()
    async with Store.open(store_url, instance="other") as store:
        await store.accept([job], {job.key: b"x"})
    await spoil(store_url, job, DAMAGE["task"])
    async with Store.open(store_url, instance="mine") as store:
        assert await store.list_jobs() == []
        assert await store.set_aside(await noted(store), LATER, Words()) is None
        assert await store.count_jobs(status=JobStatus.QUEUED) == 1


#: What can stand in a message's row: columns of the outbox.
MESSAGE_DAMAGE = {
    "no JSON": "options = '{'",
    "no object": "options = '[]'",
    "depth": f"options = '{'[' * 100_000}'",
    "unknown option": "options = '{\"pigeons\": 2}'",
    "property": "options = '{\"user_properties\": [1]}'",
    "correlation": 'options = \'{"correlation_data": "zz"}\'',
    "quality": "options = '{\"qos\": 7}'",
    "header": 'options = \'{"headers": {"X-A": "a\\r\\nB: c"}}\'',
    "channel": "channel = 'pigeon'",
    "written": "created_at = 9223372036854775807",
    "due late": "due = 9223372036854775807",
    "due early": "due = -9223372036854775808",
}


@pytest.mark.parametrize("damage", MESSAGE_DAMAGE)
async def test_damaged_message_is_dropped_with_its_final_messages_and_the_rest_goes_on(
    store_url: str, damage: str
) -> None:
    async with Store.open(store_url) as store:
        messages = [make_message(f"front/job-{number}", f"to/{number}") for number in range(3)]
        first, bad, last = await store.accept([], {}, messages)
    await update(store_url, "outbox", MESSAGE_DAMAGE[damage], "message_id", bad.message_id)
    words = Words()
    async with Store.open(store_url) as store:
        await store.recover()
        assert await store.outbox.for_broker(10) == [first, last]
        row = await noted(store)
        assert store.unreadable.is_empty
        found = await store.set_aside(row, LATER, words)
        assert found is not None
        assert await store.set_aside(row, LATER, words) is None
        [lost] = words.told
        assert (lost.job_id, lost.topic, lost.size) == ("job-1", "to/1", 2)
        assert lost.error.code == "unreadable"
        assert await store.outbox.for_broker(10) == [first, last, *found[1]]
        assert await store.outbox.pending_count(Channel.MQTT) == 3


@pytest.mark.both_databases
async def test_counts_leave_out_what_is_no_status(store_url: str) -> None:
    jobs = await make_jobs(store_url)
    await spoil(store_url, jobs[0], DAMAGE["status"])
    async with Store.open(store_url) as store:
        counts = await store.counts()
        assert counts[JobStatus.QUEUED] == 2
        assert sum(counts.values()) == 2


async def test_reason_names_fields_and_never_their_values(store_url: str) -> None:
    job = make_job(location="secret")
    async with Store.open(store_url) as store:
        await store.accept([job], {})
    await spoil(store_url, job, DAMAGE["task"])
    async with Store.open(store_url) as store:
        assert await store.list_jobs() == []
        assert (await noted(store)).reason == "tasks.0"


@pytest.mark.parametrize("settings", ["{", "[]", "5"])
async def test_damaged_camera_override_is_left_out(store_url: str, settings: str) -> None:
    async with Store.open(store_url) as store:
        await store.set_camera_override("front", {"cooldown": 5.0})
        await store.set_camera_override("garden", {"cooldown": 5.0})
    await update(store_url, "cameras", f"settings = '{settings}'", "camera_id", "front")
    async with Store.open(store_url) as store:
        assert list(await store.kept_cameras()) == ["garden"]


async def test_frame_that_is_no_bytes_is_not_there(tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    first, second, _ = await make_jobs(url)
    await update(url, "frames", "image = 5, num_bytes = 'x'", "job_key", first.key)
    async with Store.open(url) as store:
        assert await store.image(first.key) is None
        assert await store.image(second.key) == b"four"
        for job in (first, second):
            await store.finish(job.key, JobStatus.CANCELLED, at=NOON)
        assert await store.drop_finished_frames(0) == 2
