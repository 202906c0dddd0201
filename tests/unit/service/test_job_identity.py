"""A job id is its camera's own: what intake makes of one id that several cameras use."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from broker.message import Message, Properties5
from broker.topics import Topics
from engine.images import DEFAULT_LIMITS
from schemas.frame import Priority
from schemas.job import ErrorDetail, Job, JobStatus, job_key, split_key
from schemas.outbox import Channel
from schemas.status import StatusDocument
from service.cameras import Cameras
from service.delivery.deliver import Deliver
from service.intake.intake import Checks, Intake
from service.queue.heap import JobHeap
from service.queue.job_queue import JobQueue
from service.settings import Settings
from service.statistics import Statistics
from service.store.store import Store
from tests.support.factories import NOON, make_image
from tests.support.fakes import FakeClock
from tests.support.stages import receiving

_SEEDS = count()
ERROR = ErrorDetail(code="engine", message="out of luck")


class Inbox:
    """A connection that got some messages; `is_idle` once intake asks for more than there are."""

    def __init__(self) -> None:
        self.inbox: asyncio.Queue[Message] = _Queue()
        self.num_acknowledged = 0

    def acknowledge(self, message: Message) -> bool:
        self.num_acknowledged += 1
        return True

    def release(self, message: Message) -> None:
        pass


class _Queue(asyncio.Queue[Message]):
    def __init__(self) -> None:
        super().__init__()
        self.is_idle = asyncio.Event()

    async def get(self) -> Message:
        if self.empty():
            self.is_idle.set()
        return await super().get()


class Announcer:
    """Remembers the statuses that were published without promise."""

    def __init__(self) -> None:
        self.statuses: list[StatusDocument] = []

    def announce(self, document: BaseModel, *, camera_id: str | None = None) -> bool:
        if isinstance(document, StatusDocument):
            self.statuses.append(document)
        return True

    async def until(self, number: int) -> None:
        """Known frames are answered after they are acknowledged."""
        async with asyncio.timeout(10):
            while len(self.statuses) < number:  # noqa: ASYNC110 - polls real parts
                await asyncio.sleep(0.005)

    def keep(self, document: BaseModel, *, camera_id: str) -> None:
        raise AssertionError("no camera of these tests is changed")

    def forget(self, camera_id: str) -> None:
        raise AssertionError("no camera of these tests is forgotten")


class Anything:
    """Room on the disk, and URLs that may all be named."""

    def accepts(self, priority: Priority) -> bool:
        return True

    def check_webhook(self, url: str) -> None:
        pass

    def check_fetch(self, url: str) -> None:
        pass

    async def download(self, job: Job) -> None:
        raise AssertionError("no frame of these tests is behind a URL")


@dataclass
class Desk:
    """Intake between an inbox and a real store."""

    inbox: Inbox
    store: Store
    deliver: Deliver
    heap: JobHeap
    announcer: Announcer = field(default_factory=Announcer)

    async def take(self, *frames: tuple[str, str | None], **fields: Any) -> None:
        """Let frames come as one group, each of a camera and with a job id of its sender."""
        queue = self.inbox.inbox
        assert isinstance(queue, _Queue)
        await queue.is_idle.wait()
        queue.is_idle.clear()
        for camera_id, job_id in frames:
            queue.put_nowait(make_frame(camera_id, job_id, **fields))
        await queue.is_idle.wait()

    async def jobs(self) -> list[Job]:
        """In the order of their keys."""
        return sorted(await self.store.list_jobs(), key=lambda job: job.key)

    async def webhook_ids(self, jobs: Sequence[Job]) -> dict[str, Any]:
        """End jobs; what each one's webhook says about its id, by key."""
        await self.deliver.end(jobs, JobStatus.FAILED, ERROR)
        waiting = await self.store.outbox.oldest(Channel.WEBHOOK, None, 100)
        rows = await self.store.outbox.get([message_id for message_id, _ in waiting])
        return {str(row.job_key): row.options.get("webhook_id") for row in rows}


def make_frame(
    camera_id: str, job_id: str | None, *, image: bytes | None = None, dup: bool = False
) -> Message:
    return Message(
        topic=f"base/{camera_id}/frame",
        payload=image or make_image(next(_SEEDS)),
        qos=1,
        retain=False,
        dup=dup,
        generation=1,
        mid=1,
        arrived_at=NOON,
        arrived_monotonic=1000.0,
        properties=Properties5(user=() if job_id is None else (("job_id", job_id),)),
    )


@asynccontextmanager
async def desk(folder: Path) -> AsyncIterator[Desk]:
    settings = Settings(
        data_dir=folder,
        webhooks={"url": "http://127.0.0.1:9/hook"},
    )
    clock, statistics, topics = FakeClock(NOON), Statistics(), Topics("base")
    anything, announcer, inbox = Anything(), Announcer(), Inbox()
    heap = JobHeap(100)
    async with Store.open(f"sqlite:///{folder / 'store.db'}", clock=clock) as store:
        cameras = Cameras(settings, topics, store, announcer, clock)
        deliver = Deliver(store, topics, announcer, statistics, clock, cameras)
        line = JobQueue(heap, store, deliver, clock)
        intake = Intake(
            store,
            deliver,
            line,
            anything.download,
            cameras,
            Checks(anything, DEFAULT_LIMITS),
            anything,
            settings,
        )
        async with receiving(inbox, intake, settings, topics):
            yield Desk(inbox, store, deliver, heap, announcer)


def test_split_key_undoes_job_key() -> None:
    assert split_key(job_key("front_door", "a-1")) == ("front_door", "a-1")


async def test_one_id_of_two_cameras_in_one_group_is_two_jobs(tmp_path: Path) -> None:
    async with desk(tmp_path) as here:
        await here.take(("copycat", "1"), ("owner", "1"))
        jobs = await here.jobs()
        assert [job.key for job in jobs] == ["copycat/1", "owner/1"]
        assert {job.status for job in jobs} == {JobStatus.QUEUED}
        assert all(job.key in here.heap for job in jobs)
        assert here.inbox.num_acknowledged == 2
        images = [await here.store.image(job.key) for job in jobs]
        assert None not in images
        assert images[0] != images[1]


async def test_one_id_of_two_cameras_in_two_groups_is_two_jobs(tmp_path: Path) -> None:
    async with desk(tmp_path) as here:
        await here.take(("copycat", "1"))
        await here.take(("owner", "1"))
        assert [job.key for job in await here.jobs()] == ["copycat/1", "owner/1"]
        assert len(here.heap) == 2


async def test_known_id_is_answered_with_the_job_of_its_own_camera(tmp_path: Path) -> None:
    async with desk(tmp_path) as here:
        await here.take(("copycat", "1"), ("owner", "1"))
        await here.deliver.end((await here.jobs())[:1], JobStatus.FAILED, ERROR)
        here.announcer.statuses.clear()
        await here.take(("copycat", "1"), ("owner", "1"))
        await here.announcer.until(2)
        assert [
            (status.camera_id, status.job_id, status.status) for status in here.announcer.statuses
        ] == [("copycat", "1", JobStatus.FAILED), ("owner", "1", JobStatus.QUEUED)]
        assert len(await here.jobs()) == 2


async def test_redelivery_without_an_id_is_answered_with_its_job(tmp_path: Path) -> None:
    image = make_image(next(_SEEDS))
    async with desk(tmp_path) as here:
        await here.take(("front", None), image=image)
        [job] = await here.jobs()
        here.announcer.statuses.clear()
        await here.take(("front", None), image=image, dup=True)
        await here.announcer.until(1)
        assert [each.job_id for each in here.announcer.statuses] == [job.job_id]
        assert await here.jobs() == [job]


async def test_webhook_id_is_the_job_id_until_another_camera_has_that(tmp_path: Path) -> None:
    async with desk(tmp_path) as here:
        await here.take(("first", "1"), ("first", "2"), ("second", "2"))
        await here.take(("second", "1"), ("third", "1"), ("third", None))
        jobs = await here.jobs()
        generated = next(job for job in jobs if job.camera_id == "third" and job.job_id != "1")
        assert await here.webhook_ids(jobs) == {
            "first/1": None,
            "first/2": None,
            "second/1": "second/1",
            "second/2": "second/2",
            "third/1": "third/1",
            generated.key: None,
        }


async def test_webhook_id_stays_what_it_was_at_acceptance(tmp_path: Path) -> None:
    async with desk(tmp_path) as here:
        await here.take(("copycat", "1"))
        await here.take(("owner", "1"))
        [copy, _] = await here.jobs()
        await here.deliver.end([copy], JobStatus.FAILED, ERROR)
        await here.store.delete_finished(0)
    async with desk(tmp_path) as here:  # after a restart nobody else has the id
        [job] = await here.store.recover()
        assert await here.webhook_ids([job]) == {"copycat/1": None, "owner/1": "owner/1"}
