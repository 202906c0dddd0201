"""The registry of cameras, with a real store."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from broker.publisher import from_outbox
from broker.topics import Topics
from schemas.camera import CameraSettings
from schemas.outbox import Channel
from service.cameras import SILENT_S, Camera, Cameras
from service.errors import FrameError
from service.settings import Settings
from service.store.store import Store
from tests.support.factories import NOON
from tests.support.fakes import FakeClock

FILE = {"front": CameraSettings(cooldown=5), "back": CameraSettings(cooldown=7)}


class Announcer:
    """Hears what is published; breaks at a camera named `breaks`."""

    def __init__(self) -> None:
        self.heard: dict[str, BaseModel] = {}

    def announce(self, document: BaseModel, *, camera_id: str | None = None) -> bool:
        if camera_id == "breaks":
            raise RuntimeError("nobody expected this")
        self.heard[camera_id or ""] = document
        return True

    def forget(self, camera_id: str) -> None:
        del self.heard[camera_id]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOON, monotonic=1e6)


@pytest.fixture
async def store(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Store]:
    async with Store.open(f"sqlite:///{tmp_path / 'jobs.sqlite3'}", clock=clock) as opened:
        yield opened


def made(store: Store, clock: FakeClock, **settings: Any) -> tuple[Cameras, Announcer]:
    announcer = Announcer()
    configured = Settings(**{"cameras": FILE, **settings})
    return Cameras(configured, Topics("base"), store, announcer, clock), announcer


async def loaded(
    store: Store, clock: FakeClock, overrides: Mapping[str, dict[str, Any]], **settings: Any
) -> Cameras:
    for camera_id, override in overrides.items():
        await store.set_camera_override(camera_id, override)
    cameras, _ = made(store, clock, **settings)
    await cameras.load()
    return cameras


def known(cameras: Cameras, camera_id: str) -> Camera:
    camera = cameras.get(camera_id)
    assert camera is not None
    return camera


async def cleared(store: Store) -> list[str]:
    """The topics for which an empty retained message waits in the outbox."""
    waiting = await store.outbox.oldest(Channel.MQTT, None, 10_000)
    rows = await store.outbox.get([message_id for message_id, _ in waiting])
    messages = [from_outbox(row) for row in rows]
    assert all(each.retain and not each.payload for each in messages)
    return sorted(each.topic for each in messages)


async def test_load_overlays_the_file(store: Store, clock: FakeClock) -> None:
    cameras = await loaded(store, clock, {"front": {"cooldown": 9}})
    assert known(cameras, "front").settings.cooldown == 9
    assert known(cameras, "back").settings.cooldown == 7


@pytest.mark.parametrize(
    "override", [{"cooldown": "soon"}, {"no_such_setting": 1}, {"length": "huge"}]
)
async def test_load_ignores_an_override_that_does_not_hold(
    store: Store, clock: FakeClock, override: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    cameras = await loaded(store, clock, {"front": override, "back": {"cooldown": 9}})
    assert known(cameras, "front").settings.cooldown == 5
    assert known(cameras, "back").settings.cooldown == 9
    assert "cameras.front" in caplog.text


async def test_load_ignores_a_camera_that_breaks(
    store: Store, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    url = {"webhook_url": "http://192.168.1.5/"}
    cameras = await loaded(store, clock, {"breaks": url, "back": {"cooldown": 9}})
    assert known(cameras, "back").settings.cooldown == 9
    assert any(record.exc_info for record in caplog.records)
    assert not known(cameras, "breaks").webhook.is_trusted


async def test_url_set_at_run_time_is_not_trusted(store: Store, clock: FakeClock) -> None:
    url = "http://192.168.1.5/"
    configured = {"back": CameraSettings(webhook_url=url)}
    cameras = await loaded(store, clock, {"front": {"webhook_url": url}}, cameras=configured)
    assert not known(cameras, "front").webhook.is_trusted
    assert known(cameras, "back").webhook.is_trusted


async def test_invented_cameras_are_bounded(store: Store, clock: FakeClock) -> None:
    cameras, announcer = made(store, clock, max_cameras=5)
    await cameras.load()
    for number in range(3):
        cameras.admit(f"invented-{number}", clock.monotonic())
    for number in range(600):
        with pytest.raises(FrameError, match="max_cameras") as refused:
            cameras.admit(f"more-{number}", clock.monotonic())
        assert refused.value.code == "too_many_cameras"
    assert len(cameras) == 5 == len(announcer.heard)
    await cameras.save()
    kept = await store.kept_cameras()
    assert sorted(kept) == ["back", "front", "invented-0", "invented-1", "invented-2"]
    assert await cleared(store) == []


async def test_longest_silent_camera_goes_for_a_new_one(store: Store, clock: FakeClock) -> None:
    cameras, announcer = made(store, clock, max_cameras=4)
    await cameras.load()
    cameras.admit("older", clock.monotonic())
    clock.advance(10)
    cameras.admit("old", clock.monotonic())
    await cameras.save()
    clock.advance(SILENT_S - 5)
    cameras.admit("new", clock.monotonic())
    assert sorted(announcer.heard) == ["back", "front", "new", "old"]
    assert cameras.is_saved is False
    await cameras.save()
    assert sorted(await store.kept_cameras()) == ["back", "front", "new", "old"]
    names = ("caption", "image", "settings")
    assert await cleared(store) == [f"base/older/{name}" for name in names]
    with pytest.raises(FrameError):  # the other was seen within a day
        cameras.admit("newer", clock.monotonic())


async def test_configured_camera_is_never_forgotten(store: Store, clock: FakeClock) -> None:
    cameras = await loaded(store, clock, {"named": {"cooldown": 1}}, max_cameras=3)
    clock.advance(30 * SILENT_S)
    with pytest.raises(FrameError):
        cameras.admit("new", clock.monotonic())
    assert all(name in cameras for name in ("front", "back", "named"))


async def test_camera_that_comes_back_before_it_is_forgotten_in_the_store_stays(
    store: Store, clock: FakeClock
) -> None:
    cameras, _ = made(store, clock, max_cameras=3)
    await cameras.load()
    cameras.admit("one", clock.monotonic())
    await cameras.save()
    clock.advance(2 * SILENT_S)
    cameras.admit("two", clock.monotonic())
    clock.advance(2 * SILENT_S)
    cameras.admit("one", clock.monotonic())
    await cameras.save()
    assert sorted(await store.kept_cameras()) == ["back", "front", "one"]


async def test_restart_knows_the_newest_cameras_and_clears_the_rest(
    store: Store, clock: FakeClock
) -> None:
    cameras, _ = made(store, clock)
    await cameras.load()
    for number in range(6):
        clock.advance(10)
        cameras.admit(f"camera-{number}", clock.monotonic())
    await cameras.save()
    cameras, _ = made(store, clock, max_cameras=4)
    await cameras.load()
    assert all(name in cameras for name in ("front", "back", "camera-4", "camera-5"))
    assert len(cameras) == 4
    await cameras.save()
    assert sorted(await store.kept_cameras()) == ["back", "camera-4", "camera-5", "front"]
    assert len(await cleared(store)) == 4 * 3


async def test_silence_goes_on_while_the_service_is_away(store: Store, clock: FakeClock) -> None:
    cameras, _ = made(store, clock, max_cameras=3)
    await cameras.load()
    cameras.admit("one", clock.monotonic())
    await cameras.save()
    clock.advance(SILENT_S + 1)
    again, _ = made(store, clock, max_cameras=3)
    await again.load()
    again.admit("two", clock.monotonic())
    assert "one" not in again
