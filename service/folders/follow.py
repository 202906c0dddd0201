"""From files in folders to frames: found, read, handed to intake, then cleared away.

A file is remembered last: killed anywhere before, the service finds it again, and its frames, whose
ids follow from path, time and size, are answered as known. Photos do not wait for clips, which are
read one at a time.
"""

import asyncio
import hashlib
import logging
import os
import shutil
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

from engine.errors import ImageError
from engine.images import ImageLimits, inspect
from schemas.frame import FrameOptions
from schemas.job import ErrorDetail
from schemas.status import HealthCheck
from service.boundary import INTERNAL, contained, keep_running
from service.clock import Clock
from service.delivery.documents import Rejection
from service.errors import FrameError
from service.folder_settings import FolderSettings
from service.folders.access import unreadable
from service.folders.aftermath import clear_away, moved_to
from service.folders.clips import ClipFrame, clip_frames, open_file
from service.folders.names import shown, taken_at
from service.folders.scan import MOST_KNOWN, FolderScan, Found
from service.folders.tree import is_clip
from service.intake.submission import Outcome, Submission
from service.settings import Settings
from service.sources.names import Named, Names
from service.store.folder_files import FolderFiles, TakenFile
from service.store.retry import until_stored

logger = logging.getLogger(__name__)

_EVERY_S = 2.0  # 20,000 files that have not changed cost a millisecond
_MOST_REFUSALS = 60  # told in a minute, of each folder; more are only counted
_LOW_BYTES = 64 << 20  # free on the disk of a folder: cameras will soon write in vain

_OF_A_PART = frozenset({"image_truncated", "image_corrupt"})

Submit = Callable[[Sequence[Submission | Rejection]], Awaitable[Sequence[Outcome]]]


@dataclass(slots=True)
class _Folder:
    settings: FolderSettings
    scan: FolderScan
    zone: tzinfo | None
    problem: str | None = None  # of the last pass
    stuck: str | None = None  # why files stay that should not
    refused_at: deque[float] = field(default_factory=lambda: deque(maxlen=_MOST_REFUSALS))
    num_untold: int = 0  # files that were refused without saying so

    @property
    def key(self) -> str:
        """Names it where its files are remembered."""
        return hashlib.sha256(os.fsencode(self.settings.path)).hexdigest()[:32]

    def camera_of(self, relative: str, names: Names) -> Named | None:
        """Whose a file is."""
        if self.settings.camera is not None:
            return Named(self.settings.camera, None)
        name = self.settings.compiled.camera_of(relative)
        return None if name is None else names.find(name)


#: By rank, then in order.
_Queue = asyncio.PriorityQueue[tuple[int, int, _Folder, Found]]


class FolderFrames:
    """Takes frames from all folders.

    Args:
        settings: Folders, frames and queue sections are used.
        submit: See `Intake.submit`.
        names: Of cameras in paths.
        files: Remembers what was taken.
        clock: For times of arrival.
        every_s: Seconds between two passes over the folders.
    """

    def __init__(
        self,
        settings: Settings,
        submit: Submit,
        names: Names,
        files: FolderFiles,
        clock: Clock,
        *,
        every_s: float = _EVERY_S,
    ) -> None:
        self._submit = submit
        self._names = names
        self._files = files
        self._clock = clock
        self._every_s = every_s
        self._limits = ImageLimits(**settings.frames.model_dump())
        self._is_smallest_first = settings.queue.order == "smallest"
        self._folders = [self._open(each) for each in settings.folders]
        self._photos: _Queue = asyncio.PriorityQueue()
        self._clips: _Queue = asyncio.PriorityQueue()
        self._num_found = 0

    async def run(self) -> None:
        """Take files for ever."""
        for folder in self._folders:
            await self._remember_known(folder)
        async with asyncio.TaskGroup() as tasks:
            works: dict[str, Callable[[], Awaitable[None]]] = {
                "folders-scan": self._scan,
                "folders-photos": partial(self._take_all, self._photos),
                "folders-clips": partial(self._take_all, self._clips),
            }
            for name, work in works.items():
                tasks.create_task(keep_running(work, name), name=name)

    def health(self) -> HealthCheck:
        """Degraded while a folder is not read, or files stay or are passed over."""
        found = [
            f"{shown(os.fspath(each.settings.path))}: {problem}"
            for each in self._folders
            if (problem := each.problem or each.stuck or _untold(each))
        ]
        status = "degraded" if found else "healthy"
        return HealthCheck(status=status, message="; ".join(found) or "ok")

    def _open(self, settings: FolderSettings) -> _Folder:
        scan = FolderScan(
            path=settings.path,
            is_meant=settings.compiled.matches,
            skipped=moved_to(settings.path, settings.after),
            max_age=settings.max_age,
            known={},
            wall=lambda: self._clock.now().timestamp(),
            monotonic=self._clock.monotonic,
        )
        return _Folder(settings, scan, ZoneInfo(settings.timezone) if settings.timezone else None)

    async def _remember_known(self, folder: _Folder) -> None:
        floor = folder.scan.floor_ns
        known = await until_stored(
            lambda: self._files.known(folder.key, floor, MOST_KNOWN),
            "the files of a folder cannot be read",
        )
        for each in known:
            folder.scan.known[each.file] = ((each.modified, each.size), each.changed)

    async def _scan(self) -> None:
        while True:
            for folder in self._folders:
                with contained(f"{shown(str(folder.settings.path))} cannot be looked through"):
                    await self._look_through(folder)
            await asyncio.sleep(self._every_s)

    async def _look_through(self, folder: _Folder) -> None:
        before = folder.problem
        try:
            found, folder.problem = await asyncio.to_thread(_pass_over, folder)
        except OSError as error:
            found, folder.problem = [], unreadable(error)
        if folder.problem and folder.problem != before:
            logger.warning("folder %s: %s", shown(str(folder.settings.path)), folder.problem)
        for each in found:
            self._num_found += 1
            rank = each.size if self._is_smallest_first else each.modified_ns
            queue = self._clips if is_clip(each.relative) else self._photos
            queue.put_nowait((rank, self._num_found, folder, each))

    async def _take_all(self, queue: _Queue) -> None:
        while True:
            *_, folder, found = await queue.get()
            with contained("a file of a folder cannot be taken"):
                await self._take(folder, found)

    async def _take(self, folder: _Folder, found: Found) -> None:
        """Read one file, hand its frames over, then clear it away and remember it."""
        camera = folder.camera_of(found.relative, self._names)
        if camera is None:
            return
        camera_id = camera.camera_id
        try:
            pictures = await self._read(folder, found)
        except (FrameError, ImageError, OSError) as error:
            if _may_be_under_way(error, found) and folder.scan.returned(found):
                return
            await self._refuse(folder, found, camera_id, _detail(error))
        except Exception:
            logger.exception("a file of %s broke its reader", camera_id)
            await self._refuse(folder, found, camera_id, INTERNAL)
        else:
            outcomes = await self._hand_over(self._submissions(folder, found, camera, pictures))
            if not any(isinstance(each, Rejection) for each in outcomes):
                await self._clear_away(folder, found)
        await self._remember(folder, found)

    async def _read(self, folder: _Folder, found: Found) -> list[ClipFrame]:
        path = folder.settings.path / found.relative
        if is_clip(found.relative):
            return await clip_frames(path, folder.settings.frames)
        return [ClipFrame(0.0, await asyncio.to_thread(_read_photo, path, self._limits))]

    def _submissions(
        self, folder: _Folder, found: Found, camera: Named, pictures: Sequence[ClipFrame]
    ) -> list[Submission | Rejection]:
        name = shown(found.relative)
        changed_at = datetime.fromtimestamp(found.modified_ns / 1e9, UTC)
        began_at = taken_at(found.relative, changed_at, folder.zone)
        source = f"{folder.key}/{found.key}/{found.version}"
        number = hashlib.sha256(source.encode()).hexdigest()[:32]
        made: list[Submission | Rejection] = []
        for index, picture in enumerate(pictures):
            metadata: dict[str, object] = {"source": {"type": "folder", "file": name}}
            if is_clip(found.relative):
                metadata["burst"] = {"id": number, "index": index, "count": len(pictures)}
            options = FrameOptions(
                job_id=f"file-{number}-{index}",
                timestamp=began_at + timedelta(seconds=picture.offset_s),
                metadata=metadata,
            )
            made.append(
                Submission(
                    camera_id=camera.camera_id,
                    options=options,
                    image=picture.jpeg,
                    frame_url=None,
                    origin=name,
                    content=picture.jpeg,
                    arrived_at=self._clock.now(),
                    arrived_monotonic=self._clock.monotonic(),
                    motion_intensity=folder.settings.motion_intensity,
                    camera_name=camera.name,
                    source="folder",
                )
            )
        return made

    async def _hand_over(self, items: Sequence[Submission | Rejection]) -> list[Outcome]:
        """Until it is known what became of them."""
        outcomes: list[Outcome] = []

        async def submit() -> None:
            outcomes[:] = await self._submit(items)

        await keep_running(submit, "the intake of files")
        return outcomes

    async def _refuse(
        self, folder: _Folder, found: Found, camera_id: str, error: ErrorDetail
    ) -> None:
        """Say why a file is no frame, unless a folder full of such files says it all the time."""
        now, told = self._clock.monotonic(), folder.refused_at
        if len(told) == _MOST_REFUSALS and now - told[0] < 60.0:
            folder.num_untold += 1
            return
        told.append(now)
        refused = Rejection(
            origin=shown(found.relative),
            camera_id=camera_id,
            job_id=None,
            size=found.size,
            sha256=None,
            error=error,
        )
        await self._hand_over([refused])

    async def _clear_away(self, folder: _Folder, found: Found) -> None:
        settings = folder.settings
        try:
            await asyncio.to_thread(clear_away, settings.path, found, settings.after)
            folder.stuck = None
        except (OSError, shutil.Error) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            folder.stuck = f"a file cannot be removed from it: {reason}"
            logger.warning("folder %s: %s", shown(str(settings.path)), folder.stuck)

    async def _remember(self, folder: _Folder, found: Found) -> None:
        folder.scan.taken(found)
        taken = TakenFile(found.key, found.modified_ns, found.size, found.changed_ns)
        await until_stored(
            lambda: self._files.remember(folder.key, taken, folder.scan.floor_ns),
            "a file of a folder cannot be remembered",
        )


def _pass_over(folder: _Folder) -> tuple[list[Found], str | None]:
    found = folder.scan.pass_over()
    problem = folder.scan.problem
    if problem is None and shutil.disk_usage(folder.settings.path).free < _LOW_BYTES:
        problem = "its disk is full"
    return found, problem


def _read_photo(path: Path, limits: ImageLimits) -> bytes:
    """A picture that is whole, as far as its header and its end say.

    Raises:
        ImageError: It is none, or not all of it is there.
        OSError: It cannot be read.
    """
    with os.fdopen(open_file(path), "rb") as file:
        data = file.read(limits.max_bytes + 1)
    inspect(data, limits)
    return data


def _may_be_under_way(error: FrameError | ImageError | OSError, found: Found) -> bool:
    """Whether a file that cannot be taken may only not be whole yet."""
    if not isinstance(error, ImageError):
        return True
    return error.code in _OF_A_PART or found.size == 0


def _detail(error: FrameError | ImageError | OSError) -> ErrorDetail:
    if isinstance(error, OSError):
        reason = "it is no plain file" if error.errno is None else os.strerror(error.errno)
        error = FrameError("bad_file", f"the file cannot be read: {reason}")
    return ErrorDetail(code=error.code, message=str(error))


def _untold(folder: _Folder) -> str | None:
    if not folder.num_untold:
        return None
    return f"{folder.num_untold} files are no frames, more than can be told one by one"
