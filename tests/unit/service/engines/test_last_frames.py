from collections.abc import Collection
from typing import Any

import pytest

from broker.topics import Topics
from engine.protocol import LastFrame
from schemas.frame import Priority
from service.cameras import Cameras
from service.engines.last_frames import LastFrames
from service.errors import StoreError
from service.settings import Settings
from service.store.fingerprints import LastCaptioned
from tests.support.factories import NOON
from tests.support.fakes import FakeClock
from tests.support.stages import Nobody, any_camera


class Kept:
    """What the store has of earlier runs."""

    def __init__(self, **cameras: LastCaptioned) -> None:
        self.cameras = cameras
        self.asked: list[set[str]] = []
        self.is_broken = False

    async def last_captioned(self, camera_ids: Collection[str]) -> dict[str, LastCaptioned]:
        self.asked.append(set(camera_ids))
        if self.is_broken:
            raise StoreError("injected")
        return {each: self.cameras[each] for each in camera_ids if each in self.cameras}


def last_frames(kept: Kept, clock: FakeClock) -> LastFrames:
    nobody: Any = None
    return LastFrames(kept, any_camera(nobody, clock, Topics("base")), clock)


BEFORE = LastCaptioned("front/0", b"before", 40.0, Priority.HIGH)


def key_of(last: LastFrame | None) -> str | None:
    return None if last is None else last.key


def test_newest_is_the_one_that_began_last() -> None:
    clock = FakeClock(NOON)
    frames = last_frames(Kept(), clock)
    assert frames.newest("front") is None
    frames.add("front", "front/1", b"one", 1)
    clock.advance(3)
    frames.add("front", "front/2", b"two", 3)
    frames.add("garden", "garden/1", b"green", 1)
    clock.advance(2)
    assert frames.newest("front") == LastFrame("front/2", b"two", 2.0, 3)


def test_frame_that_gets_no_caption_gives_way_to_the_one_before() -> None:
    frames = last_frames(Kept(), FakeClock(NOON))
    for number in (1, 2, 3):
        frames.add("front", f"front/{number}", b"x", 1)
    frames.drop("front", "front/3")
    frames.drop("front", "front/1")
    frames.drop("nowhere", "nowhere/1")
    assert key_of(frames.newest("front")) == "front/2"
    frames.drop("front", "front/2")
    assert frames.newest("front") is None


def test_frame_that_begins_again_counts_once() -> None:
    frames = last_frames(Kept(), FakeClock(NOON))
    for key in ("front/1", "front/2", "front/1"):
        frames.add("front", key, b"x", 1)
    assert key_of(frames.newest("front")) == "front/1"
    frames.drop("front", "front/1")
    assert key_of(frames.newest("front")) == "front/2"


async def test_frame_of_before_the_start_is_read_once() -> None:
    kept, clock = Kept(front=BEFORE), FakeClock(NOON)
    frames = last_frames(kept, clock)
    await frames.load(["front", "garden"])
    await frames.load(["front", "garden"])
    assert kept.asked == [{"front", "garden"}]
    clock.advance(2)
    assert frames.newest("front") == LastFrame("front/0", b"before", 42.0, 2)
    assert frames.newest("garden") is None


async def test_store_that_refuses_is_asked_again() -> None:
    kept = Kept(front=BEFORE)
    frames = last_frames(kept, FakeClock(NOON))
    kept.is_broken = True
    await frames.load(["front"])
    assert frames.newest("front") is None
    kept.is_broken = False
    await frames.load(["front"])
    assert key_of(frames.newest("front")) == "front/0"


async def test_camera_that_is_not_known_has_no_last_frame() -> None:
    nobody: Any = None
    cameras = Cameras(Settings(), Topics("base"), nobody, Nobody(), FakeClock(NOON))
    frames = LastFrames(Kept(front=BEFORE), cameras, FakeClock(NOON))
    await frames.load(["front"])
    frames.add("front", "front/1", b"x", 1)
    frames.drop("front", "front/1")
    assert frames.newest("front") is None


@pytest.mark.parametrize("size", [4097, 1 << 20])
def test_fingerprint_that_is_none_is_not_kept(size: int) -> None:
    frames = last_frames(Kept(), FakeClock(NOON))
    frames.add("front", "front/1", bytes(size), 1)
    assert frames.newest("front") is None
