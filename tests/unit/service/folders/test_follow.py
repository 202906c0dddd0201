"""Files become frames: real files, a real store, a clock that runs fast, and a list as intake."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bench._clips import make_clip
from schemas.frame import is_camera_id
from schemas.job import ErrorDetail
from service.clock import Clock
from service.delivery.documents import Rejection
from service.folders.follow import FolderFrames
from service.intake.submission import Outcome, Repeated, Submission
from service.settings import Settings
from service.sources.names import Names
from service.store.store import Store
from tests.support.checker import until
from tests.support.factories import make_image

FAST = 20.0  # a minute is three seconds


class FastClock(Clock):
    """Its seconds are short; files are as old as they are."""

    def monotonic(self) -> float:
        return time.monotonic() * FAST


@dataclass
class FakeIntake:
    """Takes what it is handed, and remembers it."""

    taken: list[Submission] = field(default_factory=list)
    refused: list[Rejection] = field(default_factory=list)
    is_refusing: bool = False

    async def submit(self, items: Sequence[Submission | Rejection]) -> Sequence[Outcome]:
        outcomes: list[Outcome] = []
        for each in items:
            if isinstance(each, Submission) and self.is_refusing:
                each = each.refused(ErrorDetail(code="bad_field", message="no"))
            if isinstance(each, Rejection):
                self.refused.append(each)
                outcomes.append(each)
            else:
                self.taken.append(each)
                outcomes.append(Repeated(str(each.options.job_id)))
        return outcomes


@dataclass
class Followed:
    folder: Path
    intake: FakeIntake
    frames: FolderFrames
    store: Store

    def drop(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path


@asynccontextmanager
async def following(
    tmp_path: Path, intake: FakeIntake | None = None, *, order: str = "oldest", **options: Any
) -> AsyncIterator[Followed]:
    folder = tmp_path / "ftp"
    folder.mkdir(exist_ok=True)
    settings = Settings(folders=[{"path": str(folder), **options}], queue={"order": order})
    intake = intake or FakeIntake()
    async with Store.open(tmp_path / "store.db") as store:
        frames = FolderFrames(
            settings,
            intake.submit,
            Names(lambda _: None),
            store.folder_files,
            FastClock(),
            every_s=2.0 / FAST,
        )
        task = asyncio.create_task(frames.run())
        try:
            yield Followed(folder, intake, frames, store)
        finally:
            task.cancel()
            await asyncio.wait([task])


async def test_photo_becomes_a_frame_with_camera_time_and_origin(tmp_path: Path) -> None:
    image = make_image(1)
    async with following(tmp_path, timezone="UTC", motion_intensity=0.7) as followed:
        path = followed.drop("Front Door/2019-05-09/001/jpg/06/07/27[M][0@0][0].jpg", image)
        await until(lambda: bool(followed.intake.taken))
    [frame] = followed.intake.taken
    assert (frame.camera_id, frame.image, frame.motion_intensity) == ("Front_Door", image, 0.7)
    assert frame.location == "Front Door"
    assert frame.options.timestamp == datetime(2019, 5, 9, 6, 7, 27, tzinfo=UTC)
    assert frame.options.metadata == {
        "source": {"type": "folder", "file": str(path.relative_to(followed.folder))}
    }
    assert path.exists()


async def test_names_that_become_the_same_are_two_cameras(tmp_path: Path) -> None:
    names = ["Front Door", "Front:Door", "bridge", "\udcff" + "x" * 100]
    async with following(tmp_path) as followed:
        for number, name in enumerate(names):
            followed.drop(f"{name}/a.jpg", make_image(number))
        await until(lambda: len(followed.intake.taken) == len(names))
    ids = {each.camera_id for each in followed.intake.taken}
    assert len(ids) == len(names)
    assert all(is_camera_id(each) for each in ids)
    for each in followed.intake.taken:
        assert str(each.location).encode()


async def test_camera_of_the_settings_has_no_other_name(tmp_path: Path) -> None:
    async with following(tmp_path, camera="yard") as followed:
        followed.drop("Front Door/a.jpg", make_image(1))
        await until(lambda: bool(followed.intake.taken))
    [frame] = followed.intake.taken
    assert (frame.camera_id, frame.location) == ("yard", None)


async def test_file_is_taken_once_also_across_a_restart(tmp_path: Path) -> None:
    intake = FakeIntake()
    async with following(tmp_path, intake) as followed:
        followed.drop("door/a.jpg", make_image(1))
        await until(lambda: bool(intake.taken))
    async with following(tmp_path, intake) as followed:
        followed.drop("door/b.jpg", make_image(2))
        await until(lambda: len(intake.taken) > 1)
    assert [each.origin for each in intake.taken] == ["door/a.jpg", "door/b.jpg"]


async def test_frames_of_a_file_that_is_taken_again_have_the_same_ids(tmp_path: Path) -> None:
    """Killed between the commit and the memory of it."""
    intake = FakeIntake()
    async with following(tmp_path, intake) as followed:
        followed.drop("door/a.jpg", make_image(1))
        await until(lambda: bool(intake.taken))
    (tmp_path / "store.db").unlink()
    async with following(tmp_path, intake):
        await until(lambda: len(intake.taken) > 1)
    first, second = intake.taken
    assert first.options.job_id == second.options.job_id


async def test_clip_becomes_one_burst(tmp_path: Path) -> None:
    async with following(tmp_path, camera="door", frames=2) as followed:
        make_clip(followed.folder / "Door_00_20240605152917.mp4")
        await until(lambda: len(followed.intake.taken) == 2)
    first, second = followed.intake.taken
    bursts = [each.options.metadata["burst"] for each in (first, second)]
    assert bursts[0]["id"] == bursts[1]["id"]
    assert [(each["index"], each["count"]) for each in bursts] == [(0, 2), (1, 2)]
    assert first.options.timestamp is not None
    assert second.options.timestamp is not None
    assert first.options.timestamp < second.options.timestamp


@pytest.mark.parametrize(
    ("after", "left"),
    [("keep", {"door/a.jpg"}), ("delete", set()), ("move:done", {"done/door/a.jpg"})],
)
async def test_file_is_cleared_away_once_its_frame_is_stored(
    tmp_path: Path, after: str, left: set[str]
) -> None:
    async with following(tmp_path, after=after) as followed:
        followed.drop("door/a.jpg", make_image(1))
        await until(lambda: bool(followed.intake.taken) and files(followed.folder) == left)
        await asyncio.sleep(3 * 2.0 / FAST)
    assert len(followed.intake.taken) == 1  # what was moved is not found again


def files(folder: Path) -> set[str]:
    return {str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file()}


async def test_file_that_intake_refuses_stays(tmp_path: Path) -> None:
    async with following(tmp_path, FakeIntake(is_refusing=True), after="delete") as followed:
        followed.drop("door/a.jpg", make_image(1))
        await until(lambda: bool(followed.intake.refused))
        await asyncio.sleep(0.2)
        assert files(followed.folder) == {"door/a.jpg"}


async def test_bad_files_are_refused_once_each_with_a_reason(tmp_path: Path) -> None:
    async with following(tmp_path) as followed:
        followed.drop("door/text.jpg", b"no picture")
        followed.drop("door/cut.jpg", make_image(1)[:-100])
        followed.drop("door/two\nlines.jpg", b"")
        followed.drop("door/good.jpg", make_image(2))
        await until(lambda: len(followed.intake.refused) == 3, timeout_s=20)
        await asyncio.sleep(0.5)
    found = {each.origin: each.error.code for each in followed.intake.refused}
    assert found == {
        "door/text.jpg": "not_an_image",
        "door/cut.jpg": "image_truncated",
        "door/two\\nlines.jpg": "not_an_image",
    }
    assert {each.camera_id for each in followed.intake.refused} == {"door"}
    assert [each.origin for each in followed.intake.taken] == ["door/good.jpg"]


async def test_picture_that_is_still_growing_is_taken_when_it_is_whole(tmp_path: Path) -> None:
    image = make_image(1)
    async with following(tmp_path) as followed:
        path = followed.drop("door/a.jpg", image[:-500])
        await asyncio.sleep(6.0 / FAST)
        path.write_bytes(image)
        await until(lambda: bool(followed.intake.taken))
    assert followed.intake.taken[0].image == image
    assert followed.intake.refused == []


async def test_unreadable_folder_is_in_health_until_it_is_there(tmp_path: Path) -> None:
    async with following(tmp_path) as followed:
        followed.folder.rmdir()
        await until(lambda: followed.frames.health().status == "degraded")
        assert "No such file" in followed.frames.health().message
        followed.drop("door/a.jpg", make_image(1))
        await until(lambda: bool(followed.intake.taken))
        assert followed.frames.health().status == "healthy"


async def test_folder_full_of_bad_files_is_not_told_of_each(tmp_path: Path) -> None:
    async with following(tmp_path, camera="door") as followed:
        for number in range(100):
            followed.drop(f"{number}.jpg", b"no picture")
        await until(lambda: "files are no frames" in followed.frames.health().message, timeout_s=20)
        assert len(followed.intake.refused) == 60


async def test_smaller_files_go_first_where_the_queue_says_so(tmp_path: Path) -> None:
    async with following(tmp_path, camera="door", order="smallest") as followed:
        for name, side in (("large.jpg", 1200), ("small.jpg", 100), ("middle.jpg", 500)):
            followed.drop(name, make_image(1, (side, side)))
        await until(lambda: len(followed.intake.taken) == 3)
    assert [each.origin for each in followed.intake.taken] == [
        "small.jpg",
        "middle.jpg",
        "large.jpg",
    ]


async def test_names_of_any_bytes_can_be_published(tmp_path: Path) -> None:
    name = os.fsdecode(b"T\xfcr [M]\n/\xff\x1b.jpg")
    async with following(tmp_path) as followed:
        followed.drop(name, make_image(1))
        await until(lambda: bool(followed.intake.taken))
    [frame] = followed.intake.taken
    assert frame.camera_id == "T_r__M__"
    assert frame.origin.isprintable()
    json.dumps(frame.options.metadata, ensure_ascii=False).encode()


async def test_file_that_nobody_may_read_is_refused_with_the_reason(tmp_path: Path) -> None:
    async with following(tmp_path, camera="door") as followed:
        path = followed.drop("b.jpg", make_image(1))
        path.chmod(0)
        if os.access(path, os.R_OK):
            pytest.skip("root may read everything")
        await until(lambda: bool(followed.intake.refused), timeout_s=20)
        assert followed.intake.refused[0].error.code == "bad_file"
