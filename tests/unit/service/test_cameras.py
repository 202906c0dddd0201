"""The registry of cameras, with a real store."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from broker.handover import Publish
from broker.publisher import from_outbox
from broker.topics import Topics
from schemas.camera import CameraSettings
from schemas.outbox import Channel
from service.camera import Camera
from service.cameras import SILENT_S, Cameras
from service.errors import ConfigurationError, FrameError, StoreError
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

    def keep(self, document: BaseModel, *, camera_id: str) -> None:
        self.heard[camera_id] = document

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


async def waiting(store: Store) -> list[Publish]:
    """What waits in the outbox for the broker."""
    found = await store.outbox.oldest(Channel.MQTT, None, 10_000)
    rows = await store.outbox.get([message_id for message_id, _ in found])
    return [from_outbox(row) for row in rows]


async def cleared(store: Store) -> list[str]:
    """The topics for which an empty retained message waits in the outbox, and nothing else."""
    messages = await waiting(store)
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


async def test_change_is_stored_effective_and_published(store: Store, clock: FakeClock) -> None:
    cameras, announcer = made(store, clock)
    await cameras.load()
    front = known(cameras, "front")
    assert await cameras.change("front", {"cooldown": 9, "prompt": "Who?"}) is front
    assert (front.settings.cooldown, front.settings.prompt) == (9, "Who?")
    assert announcer.heard["front"] == front.settings
    [message] = await waiting(store)
    assert (message.topic, message.retain) == ("base/front/settings", True)
    assert json.loads(message.payload)["cooldown"] == 9
    again, _ = made(store, clock, cameras={"front": CameraSettings(cooldown=3, length="long")})
    await again.load()  # the file has changed: what was not changed at run time follows it
    settings = known(again, "front").settings
    assert (settings.cooldown, settings.prompt, settings.length) == (9, "Who?", "long")


async def test_change_to_none_goes_back_to_the_file(store: Store, clock: FakeClock) -> None:
    cameras = await loaded(store, clock, {"front": {"cooldown": 9, "enabled": False}})
    await cameras.change("front", {"cooldown": None})
    front = known(cameras, "front")
    assert (front.settings.cooldown, front.settings.enabled) == (5, False)
    await cameras.change("front", dict.fromkeys(front.overrides))
    assert front.settings == FILE["front"]
    assert (await store.kept_cameras())["front"].overrides == {}


async def test_change_that_does_not_hold_changes_nothing(store: Store, clock: FakeClock) -> None:
    cameras, _ = made(store, clock)
    await cameras.load()
    for camera_id in ("front", "new"):
        with pytest.raises(ConfigurationError, match=f"{camera_id}.cooldown"):
            await cameras.change(camera_id, {"enabled": False, "cooldown": "soon"})
    assert known(cameras, "front").settings == FILE["front"]
    assert "new" not in cameras
    assert await waiting(store) == []


class Refusing(Store):
    """A store that takes no changes of cameras while it is told not to."""

    is_full = False
    loses_answers = False

    async def set_camera_override(self, *args: Any, **kwargs: Any) -> None:
        await asyncio.sleep(0)
        if self.is_full:
            raise StoreError("no room")
        await super().set_camera_override(*args, **kwargs)
        if self.loses_answers:
            raise StoreError("nobody knows")


async def test_order_that_is_not_stored_changes_nothing(tmp_path: Path, clock: FakeClock) -> None:
    async with Refusing.open(f"sqlite:///{tmp_path / 'jobs.sqlite3'}", clock=clock) as store:
        cameras = await loaded(store, clock, {"named": {"cooldown": 9}})
        store.is_full = True
        for change in (cameras.change("named", {"cooldown": 1}), cameras.forget("named")):
            with pytest.raises(StoreError):
                await change
        named = known(cameras, "named")
        assert (named.settings.cooldown, named.is_leaving) == (9, False)
        store.is_full = False
        await cameras.forget("named")
        assert "named" not in cameras


async def test_order_whose_commit_is_not_known_is_taken_back(
    tmp_path: Path, clock: FakeClock
) -> None:
    """What is effective, what is stored and what is published are the same again."""
    async with Refusing.open(f"sqlite:///{tmp_path / 'jobs.sqlite3'}", clock=clock) as store:
        cameras = await loaded(store, clock, {"named": {"cooldown": 9}})
        await cameras.save()
        store.loses_answers = True
        for change in (cameras.change("named", {"cooldown": 1}), cameras.forget("named")):
            with pytest.raises(StoreError):
                await change
        store.loses_answers = False
        assert not cameras.is_saved  # so intake saves them before its next commit
        await cameras.save()
        assert known(cameras, "named").settings.cooldown == 9
        assert (await store.kept_cameras())["named"].overrides == {"cooldown": 9}
        last = [each for each in await waiting(store) if each.topic == "base/named/settings"][-1]
        assert json.loads(last.payload)["cooldown"] == 9


async def test_changes_at_once_all_count(store: Store, clock: FakeClock) -> None:
    cameras, _ = made(store, clock)
    await cameras.load()
    changes: list[dict[str, Any]] = [
        {"cooldown": 1},
        {"prompt": "Who?"},
        {"enabled": False},
        {"cooldown": 2},
    ]
    await asyncio.gather(*(cameras.change("front", each) for each in changes))
    kept = (await store.kept_cameras())["front"].overrides
    assert kept == {"cooldown": 2, "prompt": "Who?", "enabled": False}


async def test_change_of_an_unknown_camera_makes_it_known_within_the_bound(
    store: Store, clock: FakeClock
) -> None:
    cameras, _ = made(store, clock, max_cameras=3)
    await cameras.load()
    await cameras.change("new", {"cooldown": 1})
    assert not known(cameras, "new").is_seen
    clock.advance(2 * SILENT_S)
    with pytest.raises(FrameError) as refused:  # a changed camera is not forgotten for another
        await cameras.change("newer", {"cooldown": 1})
    assert refused.value.code == "too_many_cameras"
    await cameras.change("new", {"cooldown": None})
    await cameras.change("newer", {"cooldown": 1})
    assert "new" not in cameras
    await cameras.save()
    assert sorted(await store.kept_cameras()) == ["back", "front", "newer"]


async def test_foreign_name_is_kept_until_its_camera_is_forgotten(
    store: Store, clock: FakeClock
) -> None:
    cameras, _ = made(store, clock)
    await cameras.load()
    cameras.admit("Front_Door", clock.monotonic(), "Front Door")
    cameras.admit("odd", clock.monotonic(), "\ud800")
    cameras.admit("long", clock.monotonic(), "x" * 300)
    cameras.admit("own", clock.monotonic())
    await cameras.save()
    cameras.admit("own", clock.monotonic(), "own")  # foreign as well, since then
    is_saved = cameras.is_saved
    assert not is_saved
    await cameras.save()
    again, _ = made(store, clock)
    await again.load()
    known = {each.camera_id for each in again.all()} - {"front", "back"}
    names = {each: again.name_of(each) for each in known}
    assert names == {"Front_Door": "Front Door", "long": None, "odd": None, "own": "own"}
    await again.forget("Front_Door")
    assert again.name_of("Front_Door") is None
    again.admit("Front_Door", clock.monotonic(), "Front.Door")
    await again.save()
    third, _ = made(store, clock)
    await third.load()
    assert third.name_of("Front_Door") == "Front.Door"


async def test_headers_of_the_file_do_not_go_to_a_url_set_at_run_time(
    store: Store, clock: FakeClock
) -> None:
    token = {"Authorization": "Bearer abc"}
    configured = {"front": CameraSettings(webhook_url="http://10.0.0.1/", webhook_headers=token)}
    cameras, _ = made(store, clock, cameras=configured)
    await cameras.load()
    front = known(cameras, "front")
    assert (front.webhook.headers, front.webhook.is_trusted) == (token, True)
    await cameras.change("front", {"webhook_url": "http://elsewhere/"})
    assert (front.webhook.headers, front.webhook.is_trusted) == (None, False)
    await cameras.change("front", {"webhook_headers": {"X-Mine": "1"}})
    assert front.webhook.headers == {"X-Mine": "1"}
    await cameras.change("front", dict.fromkeys(front.overrides))
    assert (front.webhook.headers, front.webhook.is_trusted) == (token, True)


async def test_forgotten_camera_leaves_nothing(store: Store, clock: FakeClock) -> None:
    cameras, announcer = made(store, clock)
    await cameras.load()
    cameras.admit("new", clock.monotonic())
    await cameras.save()
    await cameras.change("new", {"enabled": False})
    known(cameras, "new").counts.frames = 3
    await asyncio.gather(cameras.forget("new"), cameras.save())
    assert "new" not in announcer.heard
    assert "new" not in await store.kept_cameras()
    topics = [(each.topic, bool(each.payload)) for each in await waiting(store)]
    assert topics == [
        ("base/new/settings", True),  # of the change, so that the broker forgets it after that
        ("base/new/caption", False),
        ("base/new/settings", False),
        ("base/new/image", False),
    ]
    again = cameras.admit("new", clock.monotonic())
    assert (again.settings.enabled, again.counts.frames) == (True, 0)
    assert not cameras.is_saved


async def test_camera_without_a_frame_stays_unseen_across_restarts(
    store: Store, clock: FakeClock
) -> None:
    cameras, _ = made(store, clock)
    await cameras.load()
    await cameras.save()
    clock.advance(100)
    cameras, _ = made(store, clock)
    await cameras.load()
    assert [each.is_seen for each in cameras.all()] == [False, False]
    cameras.admit("front", clock.monotonic())
    await cameras.save()
    clock.advance(50)
    cameras, _ = made(store, clock)
    await cameras.load()
    assert [each.is_seen for each in cameras.all()] == [False, True]
    assert known(cameras, "front").seen == pytest.approx(clock.monotonic() - 50)


async def test_subscribers_are_told_who_becomes_known_changes_and_goes(
    store: Store, clock: FakeClock
) -> None:
    cameras, _ = made(store, clock, max_cameras=3)
    await cameras.load()
    told: list[str] = []

    def breaks(camera_id: str) -> None:
        raise RuntimeError("nobody expected this")

    cameras.subscribe(breaks)
    cameras.subscribe(told.append)
    cameras.admit("new", clock.monotonic())
    cameras.admit("new", clock.monotonic())
    assert told == ["new"]
    await cameras.change("front", {"cooldown": 9})
    assert told == ["new", "front"]
    with pytest.raises(ConfigurationError):
        await cameras.change("front", {"cooldown": -1})
    clock.advance(SILENT_S + 1)
    cameras.admit("newer", clock.monotonic())
    assert told[2:] == ["new", "newer"]  # one goes, the other comes
    assert "new" not in cameras
    await cameras.forget("newer")
    assert told[4:] == ["newer"]


PICTURES_OFF = [("base/front/settings", True), ("base/front/image", False)]


async def sent(store: Store) -> list[tuple[str, bool]]:
    """Topic of each message that waits, and whether it says anything."""
    return [(each.topic, bool(each.payload)) for each in await waiting(store)]


async def test_change_that_switches_pictures_off_takes_the_last_one_back(
    store: Store, clock: FakeClock
) -> None:
    cameras, _ = made(store, clock, cameras={"front": CameraSettings(publish_image=True)})
    await cameras.load()
    await cameras.change("front", {"publish_image": False})
    assert await sent(store) == PICTURES_OFF
    await cameras.change("front", {"cooldown": 1})
    assert await sent(store) == [*PICTURES_OFF, ("base/front/settings", True)]


async def test_picture_that_was_under_way_when_it_was_switched_off_is_taken_back(
    store: Store, clock: FakeClock
) -> None:
    cameras, _ = made(store, clock, cameras={"front": CameraSettings(publish_image=True)})
    await cameras.load()
    retained = {("front", "base/front/caption"), ("front", "base/front/image")}
    await cameras.clear_unwanted(retained)
    assert await sent(store) == []
    await cameras.change("front", {"publish_image": False})
    await cameras.clear_unwanted(retained)
    assert await sent(store) == [*PICTURES_OFF, ("base/front/image", False)]
