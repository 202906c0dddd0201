"""What becomes of the job of a caller who hangs up, with a real store and an intake by hand."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from broker.topics import Topics
from schemas.frame import FrameOptions
from schemas.job import JobStatus
from service.clock import Clock
from service.delivery.deliver import Deliver
from service.engines.partials import Partials
from service.intake.submission import Accepted, Outcome, Repeated, Submission
from service.operations.asking import Asking, Hanging
from service.operations.cancel import Cancellation
from service.operations.operations import OperationError
from service.statistics import Statistics
from service.store.store import Store
from tests.support.factories import make_job
from tests.support.stages import Nobody, any_camera

KEY = "front/mine"


class Site:
    """Takes what it is handed when a test says so."""

    def __init__(self, store: Store) -> None:
        self.clock, self.store, topics = Clock(), store, Topics("base")
        cameras = any_camera(store, self.clock, topics)
        self.deliver = Deliver(store, topics, Nobody(), Statistics(), self.clock, cameras)
        self.may_commit = asyncio.Event()
        self.may_commit.set()
        self.was_handed = asyncio.Event()
        self.forgotten: list[str] = []
        self.partials = Partials()
        cancellation = Cancellation(self.deliver, (self.forgotten.append,))
        hanging = Hanging("http", cancellation, self.partials)
        self.asking = Asking(self.submit, self.deliver.ends, store, hanging)

    async def submit(self, items: Sequence[Submission]) -> list[Outcome]:
        self.was_handed.set()
        await self.may_commit.wait()
        if await self.store.get(KEY) is not None:
            return [Repeated(KEY)]
        job = make_job(job_id="mine", camera_id="front")
        await self.deliver.accept([job], {KEY: b"x"}, [])
        return [Accepted(job)]

    def ask(
        self, timeout_s: float = 30.0, heard: list[str] | None = None
    ) -> "asyncio.Task[object]":
        submission = Submission(
            camera_id="front",
            options=FrameOptions(job_id="mine"),
            image=b"x",
            frame_url=None,
            origin="POST /caption",
            content=b"x",
            arrived_at=self.clock.now(),
            arrived_monotonic=self.clock.monotonic(),
        )
        on_text = None if heard is None else heard.append
        return asyncio.create_task(self.asking.ask(submission, timeout_s, on_text))

    async def hang_up(self, asking: "asyncio.Task[object]") -> None:
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking

    async def until_accepted(self) -> None:
        async with asyncio.timeout(5):
            while await self.store.get(KEY) is None:  # noqa: ASYNC110 - polls real parts
                await asyncio.sleep(0.005)

    async def status(self) -> JobStatus | None:
        job = await self.store.get(KEY)
        return job.status if job else None


@pytest_asyncio.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with Store.open(tmp_path / "store.db") as store:
        yield Site(store)


async def test_job_of_who_hangs_up_ends_as_cancelled(site: Site) -> None:
    asking = site.ask()
    await site.until_accepted()
    await site.hang_up(asking)
    await site.asking.settle()
    assert (await site.status(), site.forgotten) == (JobStatus.CANCELLED, [KEY])
    assert len(site.deliver.ends) == 0


async def test_who_hangs_up_before_the_commit_leaves_no_job_that_runs(site: Site) -> None:
    site.may_commit.clear()
    asking = site.ask()
    await site.was_handed.wait()
    await site.hang_up(asking)
    assert await site.status() is None
    site.may_commit.set()
    await site.asking.settle()
    assert await site.status() is JobStatus.CANCELLED


async def test_job_of_before_is_not_ended_by_who_asks_for_it_too(site: Site) -> None:
    await site.deliver.accept([make_job(job_id="mine", camera_id="front")], {KEY: b"x"}, [])
    asking = site.ask()
    await site.was_handed.wait()
    await asyncio.sleep(0.05)
    await site.hang_up(asking)
    await site.asking.settle()
    assert await site.status() is JobStatus.QUEUED


async def test_job_that_takes_too_long_is_cancelled(site: Site) -> None:
    with pytest.raises(OperationError, match="is cancelled") as caught:
        await site.ask(timeout_s=0.1)
    assert caught.value.code == "timeout"
    await site.asking.settle()
    assert await site.status() is JobStatus.CANCELLED


async def test_text_is_heard_while_the_answer_is_waited_for(site: Site) -> None:
    heard: list[str] = []
    asking = site.ask(heard=heard)
    await site.until_accepted()
    site.partials.add(KEY, " A cat ")
    await site.hang_up(asking)
    assert heard == ["A cat"]
    assert len(site.partials) == 0
