"""What becomes of a question about a picture where intake, the store or the engine is slow."""

import asyncio
import gc
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from broker.topics import Topics
from schemas.job import Job, JobStatus
from schemas.result import ResultDocument
from service.clock import Clock
from service.delivery.deliver import Deliver
from service.delivery.ends import Ends
from service.intake.submission import Accepted, Outcome, Submission
from service.operations.asking import Asking
from service.operations.operations import OperationError, Operations
from service.operations.skills import SkillOperations
from service.statistics import Statistics
from service.store.store import Ending, Store
from tests.support.conversation import json_frame
from tests.support.factories import make_image, make_job
from tests.support.stages import Nobody, any_camera


class Site:
    """A real store, and an intake that takes what it is handed without a look."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = Clock()
        self.sizes: list[int] = []
        self.is_accepted = asyncio.Event()
        self.ends = Ends()
        self.operations = Operations(
            SkillOperations(Asking(self.submit, self.ends, store), 1 << 22, self.clock).bound()
        )

    async def submit(self, items: Sequence[Submission]) -> list[Outcome]:
        [item] = items
        self.sizes.append(len(item.image or b""))
        now = self.clock.now()
        job = make_job(
            job_id=item.options.job_id, camera_id=item.camera_id, received_at=now, taken_at=now
        )
        await self.store.accept([job], {job.key: item.image or b""})
        self.is_accepted.set()
        return [Accepted(job)]

    async def end(self, job_key: str) -> Job:
        """Complete a job behind everybody's back."""
        job = await self.store.get(job_key)
        assert job is not None
        await self.store.start([job_key], self.clock.now())
        document = ResultDocument(
            job_id=job.job_id,
            camera_id=job.camera_id,
            status=JobStatus.COMPLETED,
            result=None,
            error_message=None,
            timestamp=self.clock.now(),
            location=None,
            metadata={},
        )
        await self.store.finish_many(
            [Ending(job_key, JobStatus.COMPLETED, self.clock.now(), result=document)]
        )
        return job


@pytest_asyncio.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with Store.open(tmp_path / "store.db") as store:
        yield Site(store)


async def test_end_that_nobody_told_of_is_found_at_the_timeout(site: Site) -> None:
    """As when a commit was made whose answer was lost."""
    request = json_frame(make_image(), camera_id="front", job_id="mine", timeout=1)
    asking = asyncio.create_task(site.operations.call("caption", request))
    await site.is_accepted.wait()
    await site.end("front/mine")
    assert (await asking).model_dump()["job_id"] == "mine"
    assert len(site.ends) == 0


async def test_picture_is_not_kept_while_its_answer_is_waited_for(site: Site) -> None:
    image = make_image() + bytes(3 << 20)
    request = json_frame(image, camera_id="front", job_id="mine", timeout=60)
    asking = asyncio.create_task(site.operations.call("caption", request))
    await site.is_accepted.wait()
    await asyncio.sleep(0.1)
    gc.collect()
    held = [each for each in gc.get_objects() if type(each) is Submission]
    assert site.sizes == [len(image)]
    assert (held, request) == ([], {})
    asking.cancel()
    await asyncio.wait({asking})
    assert len(site.ends) == 0


async def test_who_stops_waiting_leaves_nothing_behind(site: Site) -> None:
    request = json_frame(make_image(), camera_id="front", timeout=0.2)
    with pytest.raises(OperationError, match="goes on") as caught:
        await site.operations.call("caption", request)
    assert caught.value.code == "timeout"
    assert len(site.ends) == 0


async def test_every_end_is_told(tmp_path: Path) -> None:
    clock, topics = Clock(), Topics("base")
    async with Store.open(tmp_path / "store.db") as store:
        cameras = any_camera(store, clock, topics)
        deliver = Deliver(store, topics, Nobody(), Statistics(), clock, cameras)
        job, duplicate = make_job(), make_job(status=JobStatus.DUPLICATE)
        with deliver.ends.of(job.key) as end, deliver.ends.of(duplicate.key) as at_once:
            await deliver.accept([job, duplicate], {job.key: b"x"}, [])
            assert (await at_once).status is JobStatus.DUPLICATE
            assert not end.done()
            await deliver.end([job], JobStatus.CANCELLED)
            assert (await end).status is JobStatus.CANCELLED
