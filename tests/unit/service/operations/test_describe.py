"""What becomes of an order to describe a camera whose picture takes long to come."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from broker.topics import Topics
from engine.images import ImageLimits
from schemas.camera import CameraSettings
from schemas.requests.cameras import DescribeRequest
from service.cameras import Cameras
from service.clock import Clock
from service.delivery.documents import Rejection
from service.intake.submission import Accepted, Outcome, Submission
from service.operations.describe import DescribeOperations
from service.operations.operations import OperationError
from service.settings import Settings
from service.store.store import Store
from service.triggers.bursts import Bursts
from service.triggers.present import PresentPictures
from service.triggers.scrutiny import Scrutiny
from service.triggers.snapshots import Snapshots
from service.triggers.triggers import Triggers
from tests.support.checker import until
from tests.support.factories import make_image, make_job
from tests.support.stages import Nobody

REQUEST = DescribeRequest(camera_id="door", job_id="mine")


class SlowCamera:
    """Shows its picture when it is told to."""

    def __init__(self) -> None:
        self.is_asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.trusted: list[bool] = []

    async def fetch(self, url: str, *, is_trusted: bool = False) -> bytes:
        self.trusted.append(is_trusted)
        self.is_asked.set()
        await self.may_answer.wait()
        return make_image()


class Site:
    """A camera, and an intake that takes what it is handed without a look."""

    def __init__(self, store: Store, patience_s: float) -> None:
        clock = Clock()
        settings = Settings(cameras={"door": CameraSettings(snapshot_url="http://10.0.0.9/")})
        self.cameras = Cameras(settings, Topics("base"), store, Nobody(), clock)
        self.camera = SlowCamera()
        self.taken: list[str] = []
        self.operations = DescribeOperations(
            self.cameras, self._pictures(clock), self.submit, store, clock, patience_s
        )

    def _pictures(self, clock: Clock) -> PresentPictures:
        """No triggers."""
        snapshots = Snapshots((), ImageLimits(), clock, "1.2.3")
        bursts = Bursts(snapshots, Scrutiny(ImageLimits()), self.cameras)
        triggers = Triggers((), bursts, self.submit, self.cameras, clock)
        return PresentPictures(self.camera, snapshots, triggers)

    async def submit(self, items: Sequence[Submission | Rejection]) -> list[Outcome]:
        [item] = items
        assert isinstance(item, Submission)
        assert item.is_asked_for
        self.taken.append(item.options.job_id or "")
        return [Accepted(make_job(camera_id=item.camera_id))]


@pytest_asyncio.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with Store.open(tmp_path / "store.db") as store:
        site = Site(store, patience_s=0.05)
        await site.cameras.load()
        yield site


async def test_answer_does_not_wait_for_a_slow_picture_which_is_captioned_all_the_same(
    site: Site,
) -> None:
    answer = await site.operations.describe(REQUEST)
    assert (answer.job_id, answer.status, answer.ask_next) == ("mine", None, "job/get")
    with pytest.raises(OperationError, match="already"):
        await site.operations.describe(REQUEST)
    site.camera.may_answer.set()
    await until(lambda: bool(site.taken))
    assert (await site.operations.describe(REQUEST)).status == "queued"  # busy no more
    assert site.camera.trusted == [True, True]


async def test_address_that_was_set_at_run_time_is_not_trusted(site: Site) -> None:
    site.camera.may_answer.set()
    await site.cameras.change("door", {"snapshot_url": "http://elsewhere.example/"})
    await site.operations.describe(REQUEST)
    assert site.camera.trusted == [False]


async def test_camera_that_is_forgotten_meanwhile_stays_so(site: Site) -> None:
    site.operations._patience_s = 60
    await site.cameras.change("new", {"snapshot_url": "http://elsewhere.example/"})
    describing = asyncio.create_task(site.operations.describe(DescribeRequest(camera_id="new")))
    await site.camera.is_asked.wait()
    await site.cameras.forget("new")
    site.camera.may_answer.set()
    with pytest.raises(OperationError, match="forgotten") as caught:
        await describing
    assert caught.value.code == "not_found"
    assert "new" not in site.cameras
    assert site.taken == []
