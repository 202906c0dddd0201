"""When pictures are taken, and that nothing said of motion is more than it may be."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from broker.message import Message
from broker.topics import Topics
from engine.images import ImageLimits
from service.cameras import Cameras
from service.clock import Clock
from service.delivery.documents import Rejection
from service.errors import FrameError
from service.intake.submission import Outcome, Submission
from service.settings import Settings
from service.sources.names import Names
from service.sources.triggers import TriggerTopics
from service.store.store import Store
from service.trigger_settings import TriggerSettings
from service.triggers.bursts import Bursts
from service.triggers.motion import Motion
from service.triggers.scrutiny import Scrutiny
from service.triggers.triggers import Triggers, offset_s
from tests.support.checker import until
from tests.support.factories import NOON, make_image
from tests.support.stages import Nobody


class Site:
    """Triggers between a camera and an intake that fails as it is told."""

    def __init__(self, cameras: Cameras, **fields: Any) -> None:
        content = {"topic": "cam/{camera}/motion", "url": "http://cam/", "cooldown": 0, **fields}
        self.settings = [TriggerSettings.model_validate(content)]
        self.may_answer = asyncio.Event()
        self.errors: list[Exception] = []
        self.failures: list[Exception] = []  #: of intake
        self.num_asked = 0
        self.names_asked: list[str | None] = []
        self.handed: list[Submission | Rejection] = []
        bursts = Bursts(self, Scrutiny(ImageLimits()), cameras)
        self.triggers = Triggers(self.settings, bursts, self.submit, cameras, Clock())
        self.source = TriggerTopics(
            Topics("base"), self.settings, self.triggers, Names(lambda _: None)
        )

    async def fetch(self, number: int, camera_id: str, name: str | None = None) -> bytes:
        self.num_asked += 1
        self.names_asked.append(name)
        await self.may_answer.wait()
        if self.errors:
            raise self.errors.pop(0)
        return make_image()

    async def submit(self, items: Sequence[Submission | Rejection]) -> list[Outcome]:
        self.handed += items
        if self.failures:
            raise self.failures.pop(0)
        return []

    def hear(self, camera_id: str) -> None:
        for is_on in (True, False):
            self.triggers.hear(Motion(0, camera_id, is_on, f"cam/{camera_id}/motion"))


@pytest_asyncio.fixture
async def cameras(tmp_path: Path) -> AsyncIterator[Cameras]:
    async with Store.open(tmp_path / "store.db") as store:
        yield Cameras(Settings(), Topics("base"), store, Nobody(), Clock())


@asynccontextmanager
async def running(site: Site) -> AsyncIterator[Site]:
    task = asyncio.create_task(site.triggers.run())
    yield site
    task.cancel()
    await asyncio.wait([task])


async def test_motion_during_a_burst_is_part_of_it(cameras: Cameras) -> None:
    async with running(Site(cameras)) as site:
        for _ in range(5):
            site.hear("front")
        await until(lambda: site.num_asked == 1)
        site.may_answer.set()
        await until(lambda: len(site.handed) == 1)
        site.hear("front")
        await until(lambda: len(site.handed) == 2)
    assert site.num_asked == 2


async def test_flood_of_invented_cameras_is_bounded(cameras: Cameras) -> None:
    site = Site(cameras)
    for number in range(5000):
        site.hear(f"camera-{number}")
    assert site.triggers._wanted.qsize() == 64
    assert "4936 skipped" in site.triggers.check().message


async def test_flood_of_one_trigger_costs_another_no_motion(cameras: Cameras) -> None:
    site = Site(cameras)
    site.settings.append(site.settings[0])
    triggers = Triggers(site.settings, site.triggers._bursts, site.submit, cameras, Clock())
    for number in range(5000):
        triggers.hear(Motion(0, f"camera-{number}", True, "cam/x/motion"))
    triggers.hear(Motion(1, "front", True, "door/motion"))
    assert "1 skipped" not in triggers.check().message
    assert triggers._wanted.qsize() == 65


async def test_intake_that_was_interrupted_is_asked_again_with_the_same_frame(
    cameras: Cameras,
) -> None:
    async with running(Site(cameras)) as site:
        site.may_answer.set()
        site.failures = [RuntimeError("interrupted")]
        site.hear("front")
        await until(lambda: len(site.handed) == 2)
    first, second = site.handed
    assert isinstance(first, Submission)
    assert isinstance(second, Submission)
    assert first.options.job_id == second.options.job_id is not None


async def test_whatever_breaks_in_a_burst_ends_that_burst_alone(
    cameras: Cameras, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(Site(cameras)) as site:
        site.may_answer.set()
        site.errors = [KeyError("nobody foresaw it")]
        site.hear("front")
        await until(lambda: "no picture can be taken for triggers[0]" in caplog.text)
        site.hear("front")
        await until(lambda: len(site.handed) == 1)


async def test_health_is_degraded_while_the_newest_attempt_has_failed(cameras: Cameras) -> None:
    async with running(Site(cameras)) as site:
        assert site.triggers.check().status == "healthy"
        site.may_answer.set()
        site.errors = [FrameError("fetch_failed", "the camera is off")]
        site.hear("front")
        await until(lambda: len(site.handed) == 1)
        found = site.triggers.check()
        assert found.status == "degraded"
        assert found.message == ("triggers[0]: 0 pictures, 1 failed, the last: the camera is off")
        site.hear("front")
        await until(lambda: len(site.handed) == 2)
        assert site.triggers.check().status == "healthy"


async def test_lost_off_does_not_repeat_for_ever(cameras: Cameras) -> None:
    async with running(Site(cameras, repeat=0.1, off_delay=1)) as site:
        site.may_answer.set()
        site.triggers.hear(Motion(0, "front", True, "cam/front/motion"))
        await asyncio.sleep(1.3)
        count = site.num_asked
        assert count >= 2
        await asyncio.sleep(0.4)
        assert site.num_asked == count
        site.triggers.hear(Motion(0, "front", True, "cam/front/motion"))
        await until(lambda: site.num_asked > count)


async def test_trigger_of_a_camera_is_known_from_the_settings_or_from_what_was_said(
    cameras: Cameras,
) -> None:
    at = {"path": "serial", "map": {"4K01": "gate"}}
    for fields in ({"topic": "a", "camera": "gate"}, {"topic": "a", "camera": at}):
        assert Site(cameras, **fields).triggers.trigger_of("gate") == (0, None)
    site = Site(cameras)
    assert site.triggers.trigger_of("front") is None
    site.triggers.hear(Motion(0, "front", False, "cam/front/motion"))
    assert site.triggers.trigger_of("front") == (0, None)
    site.triggers.hear(Motion(0, "Front_Door", False, "cam/Front Door/motion", "Front Door"))
    assert site.triggers.trigger_of("Front_Door") == (0, "Front Door")


async def test_foreign_name_is_asked_for_and_stands_in_the_frame(cameras: Cameras) -> None:
    async with running(Site(cameras)) as site:
        site.may_answer.set()
        site.source.read(message("cam/Front Door/motion"))
        await until(lambda: len(site.handed) == 1)
    [frame] = site.handed
    assert isinstance(frame, Submission)
    assert (frame.camera_id, frame.location) == ("Front_Door", "Front Door")
    assert site.names_asked == ["Front Door"]


def message(topic: str, payload: bytes = b"on", *, retain: bool = False) -> Message:
    return Message(
        topic=topic,
        payload=payload,
        qos=1,
        retain=retain,
        dup=False,
        generation=1,
        mid=1,
        arrived_at=NOON,
        arrived_monotonic=0.0,
    )


async def test_source_claims_its_topics_but_never_ours(cameras: Cameras) -> None:
    source = Site(cameras, topic="+/{camera}/frame").source
    assert [each.topic_filter for each in source.subscriptions] == ["+/+/frame"]
    assert source.claims("cam/front/frame")
    assert not source.claims("base/front/frame")


async def test_source_leaves_replays_out(cameras: Cameras) -> None:
    site = Site(cameras)
    site.source.read(message("cam/front/motion", retain=True))
    assert site.triggers._wanted.empty()
    site.source.read(message("cam/front/motion"))
    assert site.triggers._wanted.qsize() == 1


async def test_source_names_a_topic_without_a_camera_once(
    cameras: Cameras, caplog: pytest.LogCaptureFixture
) -> None:
    source = Site(cameras).source
    for _ in range(100):
        source.read(message("cam//motion"))
    [record] = caplog.records
    assert "names no camera" in record.getMessage()


def test_first_pictures_by_the_clock_are_spread_over_a_minute_at_most() -> None:
    offsets = sorted(offset_s(number, 3600.0) for number in range(100))
    gaps = [later - earlier for earlier, later in pairwise(offsets)]
    assert offsets[0] == 0.0
    assert offsets[-1] < 60.0
    assert max(gaps) < 1.2
    assert all(offset_s(number, 1.0) < 1.0 for number in range(100))
