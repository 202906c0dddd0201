"""What is cleared at a start, with a real store."""

from pathlib import Path

from broker.publisher import address_image, to_outbox
from broker.topics import Topics
from schemas.camera import CameraSettings
from schemas.outbox import Channel, OutboxMessage
from service.cameras import Cameras
from service.delivery.retained import RetainedMessages
from service.settings import Settings
from service.store.store import Store
from tests.support.factories import NOON
from tests.support.fakes import FakeClock
from tests.support.stages import Nobody

TOPICS = Topics("base")


async def start(store: Store, *, publish_image: bool) -> Cameras:
    """Begin a run, as far as cameras and their retained messages are concerned."""
    clock = FakeClock(NOON)
    settings = Settings(cameras={"front": CameraSettings(publish_image=publish_image)})
    cameras = Cameras(settings, TOPICS, store, Nobody(), clock)
    await cameras.load()
    await RetainedMessages(store, settings, TOPICS, cameras, clock).settle()
    return cameras


async def test_picture_that_the_file_switches_off_is_cleared_once(tmp_path: Path) -> None:
    sent: list[OutboxMessage] = []
    async with Store.open(tmp_path / "jobs.sqlite3") as store:
        store.outbox.subscribe(Channel.MQTT, sent.extend)
        await start(store, publish_image=True)
        picture = address_image(b"jpeg", TOPICS, "front")
        await store.accept((), {}, [to_outbox(picture, job_key=None, created_at=NOON)])
        await start(store, publish_image=True)
        assert [each.payload for each in sent] == [b"jpeg"]
        for _ in range(2):
            await start(store, publish_image=False)
    assert [(each.destination, each.payload) for each in sent[1:]] == [("base/front/image", b"")]
    assert sent[1].options == {"qos": 1, "retain": True}


async def test_topic_that_another_instance_has_too_is_left_to_it(tmp_path: Path) -> None:
    """As on a server, where both speak for the same cameras."""
    path = tmp_path / "jobs.sqlite3"
    async with Store.open(path, instance="other") as store:
        await store.retained.note(["base/front/image"])
    sent: list[OutboxMessage] = []
    async with Store.open(path, instance="ours") as store:
        store.outbox.subscribe(Channel.MQTT, sent.extend)
        await store.retained.note(["base/front/image", "base/back/image"])
        await start(store, publish_image=False)
        left = [each.topic for each in await store.retained.all()]
    assert [each.destination for each in sent] == ["base/back/image"]
    assert not [topic for topic in left if topic.endswith("image")]
