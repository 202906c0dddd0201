"""What goes out when a job ends, with a real store."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from broker.topics import Topics
from schemas.camera import CameraSettings
from schemas.frame import Priority
from schemas.job import ErrorDetail, Job, JobStatus
from schemas.outbox import Channel, OutboxMessage
from schemas.result import ModelInfo, Result
from service.cameras import Cameras
from service.delivery.deliver import Captioned, Deliver, Outcome
from service.delivery.documents import Rejection
from service.settings import Settings
from service.statistics import Statistics
from service.store.store import Ended, Ending, Store
from tests.support.factories import NOON, make_job
from tests.support.fakes import FakeClock
from tests.support.stages import Nobody, any_camera

TOPICS = Topics("base")
CAPTION, IMAGE = TOPICS.caption("front"), TOPICS.image("front")
IN_2100 = datetime(2100, 1, 1, tzinfo=UTC)


class Collector:
    """Takes what has been committed, as a sender does."""

    def __init__(self) -> None:
        self.messages: list[OutboxMessage] = []

    def notify(self, messages: Sequence[OutboxMessage]) -> None:
        self.messages += messages

    def announce(self, document: BaseModel) -> bool:
        return True

    def retained(self, topic: str) -> list[str | None]:
        """Job ids of the retained messages on a topic, in order."""
        return [
            each.job_id
            for each in self.messages
            if each.destination == topic and each.options.get("retain")
        ]


class Site:
    """A life of the service, as far as delivery is concerned."""

    def __init__(self, store: Store, clock: FakeClock) -> None:
        self.store = store
        self.clock = clock
        self.sender = Collector()
        store.outbox.subscribe(Channel.MQTT, self.sender.notify)
        settings = Settings(cameras={"front": CameraSettings(publish_image=True)})
        self.cameras = any_camera(store, clock, TOPICS, settings)
        self.deliver = Deliver(store, TOPICS, self.sender, Statistics(), clock, self.cameras)

    async def begin(self, job: Job) -> Job:
        await self.deliver.accept([job], {}, [])
        [started] = await self.store.start([job.key], self.clock.now())
        return started.job

    async def complete(self, job: Job, image: bytes | None = None) -> bool:
        captioned = Captioned(make_result(), image, 1.0)
        return bool(
            await self.deliver.finish([Outcome(job, JobStatus.COMPLETED, captioned=captioned)])
        )


def make_result() -> Result:
    info = ModelInfo(
        model="m",
        revision="r",
        device="cpu",
        camera_id="front",
        motion_intensity=0.5,
        priority=Priority.NORMAL,
    )
    return Result(
        caption="A cat",
        short_caption="A cat",
        confidence=0.5,
        processing_time=1,
        queue_time=1,
        model_info=info,
    )


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with Store.open(f"sqlite:///{tmp_path / 'jobs.sqlite3'}") as store:
        yield Site(store, FakeClock(NOON + timedelta(minutes=5)))


def frame(job_id: str, second: float, **fields: Any) -> Job:
    at = NOON + timedelta(seconds=second)
    return make_job(**{"job_id": job_id, "received_at": at, "taken_at": at, **fields})


async def test_caption_of_a_frame_dated_2100_is_replaced_by_the_next(site: Site) -> None:
    first = await site.begin(frame("first", 0, taken_at=IN_2100))
    second = await site.begin(frame("second", 1))
    await site.complete(first)
    await site.complete(second)
    assert site.sender.retained(CAPTION) == ["first", "second"]


async def test_frame_that_ends_out_of_turn_takes_nobodys_place(site: Site) -> None:
    older = await site.begin(frame("older", 0, taken_at=IN_2100))
    newer = await site.begin(frame("newer", 1))
    await site.complete(newer, b"\xff\xd8newer")
    await site.complete(older, b"\xff\xd8older")
    assert site.sender.retained(CAPTION) == ["newer"]
    assert site.sender.retained(IMAGE) == ["newer"]
    sent = [each.job_id for each in site.sender.messages if each.destination == CAPTION]
    assert sent == ["newer", "older"]


async def test_frame_that_ends_out_of_turn_after_a_restart_takes_nobodys_place(site: Site) -> None:
    older = await site.begin(frame("older", 0))
    newer = await site.begin(frame("newer", 1))
    await site.complete(newer)
    restarted = Site(site.store, site.clock)
    await restarted.complete(older)
    assert restarted.sender.retained(CAPTION) == []
    await restarted.complete(await restarted.begin(frame("newest", 2)))
    assert restarted.sender.retained(CAPTION) == ["newest"]


async def test_other_cameras_do_not_count(site: Site) -> None:
    other = await site.begin(frame("other", 1, camera_id="back"))
    await site.complete(other)
    restarted = Site(site.store, site.clock)
    await restarted.complete(await restarted.begin(frame("mine", 0)))
    assert restarted.sender.retained(CAPTION) == ["mine"]


async def test_caption_goes_on_when_our_own_clock_was_ahead(site: Site) -> None:
    """The service started with a clock at 2100, and was told the time later."""
    ahead = await site.begin(frame("ahead", 0, received_at=IN_2100))
    await site.complete(ahead)
    await site.complete(await site.begin(frame("same-life", 1)))
    assert site.sender.retained(CAPTION) == ["ahead", "same-life"]
    restarted = Site(site.store, site.clock)
    await restarted.complete(await restarted.begin(frame("next-life", 2)))
    assert restarted.sender.retained(CAPTION) == ["next-life"]


async def test_frame_that_had_ended_already_takes_nobodys_place(site: Site) -> None:
    older = await site.begin(frame("older", 0))
    newer = await site.begin(frame("newer", 1))
    assert await site.store.requeue([newer.key])  # somebody else has dealt with it
    assert not await site.complete(newer)
    await site.complete(older)
    assert site.sender.retained(CAPTION) == ["older"]


async def test_ends_are_counted_with_their_camera(site: Site) -> None:
    """And with nobody once it is forgotten."""
    cameras = Cameras(Settings(), TOPICS, site.store, Nobody(), site.clock)
    deliver = Deliver(site.store, TOPICS, site.sender, Statistics(), site.clock, cameras)
    counts = cameras.admit("front", site.clock.monotonic()).counts
    busy = ErrorDetail(code="cooldown", message="")
    dropped = frame("d", 0, status=JobStatus.DROPPED, error=busy, camera_id="front")
    rejected = [Rejection("x", each, None, 1, None, busy) for each in ("front", "unknown", None)]
    await deliver.accept([frame("a", 0), frame("b", 1), dropped], {}, rejected)
    started = await site.store.start(["front/a", "front/b"], site.clock.now())
    site.clock.advance(5)
    captioned = Captioned(make_result(), None, 1.0)
    first, second = (each.job for each in started)
    await deliver.finish([Outcome(first, JobStatus.COMPLETED, captioned=captioned)])
    assert (counts.frames, counts.captions) == (4, 1)
    assert counts.captioned_at == site.clock.monotonic()
    assert counts.reasons == {
        JobStatus.DROPPED: {"cooldown": 1},
        JobStatus.REJECTED: {"cooldown": 1},
    }
    await cameras.forget("front")
    site.sender.messages.clear()
    await deliver.finish([Outcome(second, JobStatus.COMPLETED, captioned=captioned)])
    assert site.sender.retained(CAPTION) == []
    assert [each.job_id for each in site.sender.messages if each.destination == CAPTION] == ["b"]


class Forgetting(Store):
    """A store in which a camera is forgotten while its caption is on the way to the disk."""

    cameras: Cameras

    async def finish_many(self, endings: Sequence[Ending]) -> list[Ended]:
        await self.cameras.forget("front")
        return await super().finish_many(endings)


async def test_camera_that_is_forgotten_while_its_caption_is_written_leaves_none(
    tmp_path: Path,
) -> None:
    async with Forgetting.open(f"sqlite:///{tmp_path / 'jobs.sqlite3'}") as store:
        site = Site(store, FakeClock(NOON + timedelta(minutes=5)))
        cameras = Cameras(Settings(), TOPICS, store, Nobody(), site.clock)
        store.cameras = cameras
        site.deliver = Deliver(store, TOPICS, site.sender, Statistics(), site.clock, cameras)
        cameras.admit("front", site.clock.monotonic())
        await site.complete(await site.begin(frame("a", 0)))
        retained = [bool(each.payload) for each in site.sender.messages if is_caption(each)]
        assert retained[-2:] == [True, False]  # and so the broker keeps nothing


def is_caption(message: OutboxMessage) -> bool:
    return message.destination == CAPTION
