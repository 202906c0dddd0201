"""What only PostgreSQL has: a server that goes away, and several services on one database.

That it keeps what SQLite keeps is shown by `tests/unit/store`, which runs on both.
"""

import asyncio
from collections.abc import Iterator

import pytest

from schemas.job import JobStatus
from schemas.outbox import Channel, OutboxMessage
from service.errors import StoreError
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


def make_message() -> OutboxMessage:
    return OutboxMessage(
        job_key=None,
        channel=Channel.MQTT,
        destination="base/front/status",
        payload=b"{}",
        created_at=NOON,
    )


async def test_nothing_is_lost_when_the_server_restarts(server: Postgres, url: str) -> None:
    first, second = make_job(content="a" * 64), make_job()
    async with Store.open(url) as store:
        await store.accept([first], {first.key: b"x"}, [make_message()])
        server.stop()
        with pytest.raises(StoreError):
            await store.accept([second], {second.key: b"y"}, [])
        with pytest.raises(StoreError):
            await store.image(first.key)
        server.start()
        await store.accept([second], {second.key: b"y"}, [])
        assert await store.image(first.key) == b"x"
        assert await store.outbox.pending_count(Channel.MQTT) == 1
        assert len(await store.recover()) == 2


async def test_instances_that_open_an_empty_database_together_all_get_it(url: str) -> None:
    async def open_and_count() -> int:
        async with Store.open(url) as store:
            return await store.count_jobs()

    assert await asyncio.gather(*(open_and_count() for _ in range(3))) == [0, 0, 0]


async def test_instances_recover_and_send_only_their_own(url: str) -> None:
    mine, theirs = make_job(content="a" * 64), make_job()
    async with Store.open(url, instance="a") as a, Store.open(url, instance="b") as b:
        [message] = await a.accept([mine], {mine.key: b"x"}, [make_message()])
        await b.accept([theirs], {theirs.key: b"y"}, [])
        await a.start([mine.key], NOON)
        assert [job.key for job in await b.recover()] == [theirs.key]
        stored = await b.get(mine.key)
        assert stored is not None
        assert stored.status is JobStatus.PROCESSING
        assert await b.outbox.for_broker(10) == []
        assert await a.outbox.for_broker(10) == [message]
        key = ("front", mine.content)
        assert await b.same_content([key], 60) == {key: mine.key}


async def test_instances_that_end_one_job_together_end_it_once(url: str) -> None:
    jobs = [make_job() for _ in range(30)]
    forward = [Ending(job.key, JobStatus.CANCELLED, NOON) for job in jobs]
    async with Store.open(url, instance="a") as a, Store.open(url, instance="b") as b:
        await a.accept(jobs, {}, [])
        ended = await asyncio.gather(
            *(store.finish_many([ending]) for ending in forward for store in (a, b))
        )
    assert sum(map(len, ended)) == len(jobs)


async def test_instances_given_the_same_frame_keep_it_once(url: str) -> None:
    job = make_job()
    async with Store.open(url, instance="a") as a, Store.open(url, instance="b") as b:
        for _ in range(2):  # the second time round it is known to both
            await asyncio.gather(
                *(store.accept([job], {job.key: b"x"}, []) for store in (a, b)),
                return_exceptions=True,
            )
        assert await a.count_jobs() == 1


async def test_open_without_a_server_is_an_error_of_the_store() -> None:
    with pytest.raises(StoreError):
        async with Store.open("postgresql://postgres@127.0.0.1:1/none"):
            pass


async def test_open_of_an_unknown_database_or_account_is_an_error_of_the_store(
    server: Postgres,
) -> None:
    for url in (server.url("unknown"), server.url("postgres").replace("postgres@", "nobody@")):
        with pytest.raises(StoreError, match="does not exist"):
            async with Store.open(url):
                pass
