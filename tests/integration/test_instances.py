"""Instances that share a PostgreSQL server: the rows of one that is no more go to another, once.

Time is the caller's: `silent` is told what its monotonic clock says.
"""

import asyncio
from collections.abc import Iterator

import pytest

from schemas.job import Job, JobStatus
from schemas.outbox import Channel, OutboxMessage
from service.errors import InstanceInUseError
from service.store.instances import SILENT_S, SilentInstance
from service.store.store import Ending, Store
from tests.support.factories import NOON, make_job
from tests.support.postgres import Postgres, PostgresUnavailableError, running_postgres


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    try:
        with running_postgres() as server:
            yield server
    except PostgresUnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture
def url(server: Postgres, request: pytest.FixtureRequest) -> str:
    return server.create(request.node.name.removeprefix("test_")[:60])


def make_message(job: Job) -> OutboxMessage:
    return OutboxMessage(
        job_key=job.key,
        channel=Channel.MQTT,
        destination="base/front/status",
        payload=b"{}",
        created_at=NOON,
    )


async def accept(store: Store, *jobs: Job) -> list[OutboxMessage]:
    return await store.accept(
        jobs, {job.key: b"x" for job in jobs}, [make_message(job) for job in jobs]
    )


async def fall_silent(watching: Store, now: float = 0.0) -> list[SilentInstance]:
    """Let so much time pass for one instance that all others must have counted in it."""
    assert await watching.instances.silent(now) == []
    assert await watching.instances.silent(now + SILENT_S - 1) == []
    return await watching.instances.silent(now + SILENT_S)


async def test_jobs_and_messages_of_a_silent_instance_are_taken_over(url: str) -> None:
    waiting, running, ended = make_job(), make_job(), make_job()
    async with Store.open(url, instance="old", base_topic="home") as old:
        await old.recover()
        messages = await accept(old, waiting, running, ended)
        await old.start([running.key], NOON)
        await old.finish(ended.key, JobStatus.CANCELLED, at=NOON)
    async with Store.open(url, instance="new", base_topic="home") as new:
        assert await new.recover() == []
        [gone] = await fall_silent(new)
        taken = await new.instances.take_over(gone)
        assert {job.key: job.attempts for job in taken} == {waiting.key: 0, running.key: 1}
        assert {job.status for job in taken} == {JobStatus.QUEUED}
        assert await new.outbox.for_broker(10) == messages
        assert sorted(job.key for job in await new.recover()) == sorted(job.key for job in taken)
        # Its entry goes with the next look, and nobody looks at it again.
        [gone] = await new.instances.silent(SILENT_S + 5)
        assert await new.instances.take_over(gone) == []
        assert await new.instances.silent(SILENT_S + 10) == []


async def test_take_over_done_again_returns_the_jobs_again(url: str) -> None:
    job = make_job()
    async with Store.open(url, instance="old") as old:
        await old.recover()
        await accept(old, job)
    async with Store.open(url, instance="new") as new:
        await new.recover()
        [gone] = await fall_silent(new)
        first = await new.instances.take_over(gone)
        assert first == await new.instances.take_over(gone)
        assert [each.key for each in first] == [job.key]


async def test_live_instances_never_take_from_each_other(url: str) -> None:
    async with (
        Store.open(url, instance="a", base_topic="home") as a,
        Store.open(url, instance="b", base_topic="home") as b,
    ):
        for store in (a, b):
            await store.recover()
            await accept(store, make_job(), make_job())
        for second in range(0, 200, 5):
            for store in (a, b):
                assert await store.instances.silent(float(second)) == []
        assert len(await a.recover()) == len(await b.recover()) == 2


async def test_instance_of_other_topics_takes_nothing(url: str) -> None:
    async with Store.open(url, instance="old", base_topic="home") as old:
        await old.recover()
        await accept(old, make_job())
    async with Store.open(url, instance="new", base_topic="office") as new:
        await new.recover()
        assert await fall_silent(new) == []
    async with Store.open(url, instance="old", base_topic="home") as old:
        assert len(await old.recover()) == 1


async def test_rows_from_before_the_table_go_to_whoever_is_there(url: str) -> None:
    async with Store.open(url, instance="client id") as old:
        await accept(old, make_job())  # it never entered itself
    async with Store.open(url, instance="new", base_topic="home") as new:
        await new.recover()
        [gone] = await fall_silent(new)
        assert len(await new.instances.take_over(gone)) == 1


async def test_instance_that_comes_back_in_time_keeps_its_rows(url: str) -> None:
    job = make_job()
    async with Store.open(url, instance="old") as old:
        await old.recover()
        await accept(old, job)
    async with Store.open(url, instance="new") as new:
        await new.recover()
        [gone] = await fall_silent(new)
        async with Store.open(url, instance="old") as old:
            assert [each.key for each in await old.recover()] == [job.key]
            assert await new.instances.take_over(gone) == []
            assert await new.instances.silent(2 * SILENT_S) == []
            assert [each.job.key for each in await old.start([job.key], NOON)] == [job.key]


async def test_instance_that_was_only_slow_ends_nothing_it_has_lost(url: str) -> None:
    waiting, running = make_job(), make_job()
    async with (
        Store.open(url, instance="slow") as slow,
        Store.open(url, instance="new") as new,
    ):
        for store in (slow, new):
            await store.recover()
        await accept(slow, waiting, running)
        await slow.start([running.key], NOON)
        [gone] = await fall_silent(new)
        assert len(await new.instances.take_over(gone)) == 2

        ids = [waiting.key, running.key]
        assert await slow.start(ids, NOON) == []
        assert await slow.requeue(ids) == []
        assert (
            await slow.finish_many([Ending(each, JobStatus.CANCELLED, NOON) for each in ids]) == []
        )
        assert await slow.outbox.for_broker(10) == []
        assert len(await new.start(ids, NOON)) == 2

        # It goes on with what comes from now on, and is looked at as before.
        later = make_job()
        await accept(slow, later)
        assert await slow.instances.silent(0.0) == []
        assert [each.job.key for each in await slow.start([later.key], NOON)] == [later.key]
        assert await new.instances.silent(2 * SILENT_S) == []
        await slow.instances.silent(5.0)
        assert await new.instances.silent(3 * SILENT_S) == []


async def test_two_that_look_together_share_a_silent_one_out_once(url: str) -> None:
    jobs = [make_job() for _ in range(20)]
    async with Store.open(url, instance="old") as old:
        await old.recover()
        await accept(old, *jobs)
    async with Store.open(url, instance="a") as a, Store.open(url, instance="b") as b:
        for store in (a, b):
            await store.recover()
        for second in (0.0, SILENT_S - 1):
            for store in (a, b):
                await store.instances.silent(second)
        found = [await store.instances.silent(SILENT_S) for store in (a, b)]
        taken = await asyncio.gather(
            *(
                store.instances.take_over(gone)
                for store, gones in zip((a, b), found, strict=True)
                for gone in gones
                if gone.name == "old"
            )
        )
        assert len(taken) == 2
        assert sum(map(len, taken)) == len(jobs)
        assert {len(each) for each in taken} == {0, len(jobs)}


async def test_later_process_of_the_same_name_ends_the_earlier(url: str) -> None:
    async with Store.open(url, instance="twin") as first:
        await first.recover()
        await first.instances.silent(0.0)
        async with Store.open(url, instance="twin") as second:
            await second.recover()
            with pytest.raises(InstanceInUseError, match="'twin'"):
                await first.instances.silent(5.0)
            await second.instances.silent(5.0)


async def test_instances_that_enter_together_all_get_in(url: str) -> None:
    async with Store.open(url, instance="gone") as gone:
        await accept(gone, make_job())

    async def enter(name: str) -> int:
        async with Store.open(url, instance=name) as store:
            return len(await store.recover())

    assert await asyncio.gather(*(enter(f"i{number}") for number in range(4))) == [0] * 4
