"""From the items of a batch to committed jobs, a few at a time.

Each item is asked for, so what spares a camera's frames their caption (same picture, cooldown,
newest wins) is not asked here. What is no frame is a failed result of the batch. Images are
decoded, stored and let go in pieces of a MiB: between two of them the frames of cameras are
committed.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from broker.codec import PayloadError, read_json, validate
from engine.errors import ImageError
from schemas.frame import MAX_AGE_S, CameraId, MotionFrame, Priority
from schemas.job import ErrorDetail, Job
from service.boundary import INTERNAL
from service.cameras import Cameras
from service.clock import Clock
from service.errors import FrameError, StoreFullError, UrlRefusedError
from service.intake.intake import Checks, Gate
from service.intake.rules import resolve
from service.intake.submission import Submission
from service.intake.wrapping import IncomingFrame, max_json_bytes, unwrap_frame
from service.settings import Settings
from service.store.batches import NewItem
from service.store.store import Store

logger = logging.getLogger(__name__)

# Of one transaction, in which no camera's frame is committed: some 10 ms.
_MOST_BYTES = 1 << 20
_MOST_ITEMS = 32
_LARGE_BYTES = 256 * 1024  # of an item that is read elsewhere: one of 5 MiB takes 20 ms
_MOST_OF_STORE = 0.5  # of its frames' bytes: when all are taken, cameras' low frames are dropped


@dataclass(frozen=True, slots=True)
class _Read:
    """One item: a job with its image, if it is here already, or why there is none."""

    position: int
    camera_id: str | None
    job: Job | None = None
    image: bytes | None = None
    is_named: bool = False  #: the sender gave the id
    error: ErrorDetail | None = None


@dataclass(slots=True)
class _Taken:
    """What has been made of a batch so far."""

    num_bytes: int  #: of this batch and all that wait
    waiting: list[tuple[Priority, str]] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    job_ids: set[str] = field(default_factory=set)


class BatchIntake:
    """Turns the items of a batch into jobs.

    Args:
        store: Keeps them.
        cameras: Everything kept per camera.
        checks: What a frame must pass.
        gate: Whether the disk takes more.
        settings: Queue and frames sections are used.
        clock: For times of arrival.
    """

    def __init__(
        self,
        store: Store,
        cameras: Cameras,
        checks: Checks,
        gate: Gate,
        settings: Settings,
        clock: Clock,
    ) -> None:
        self._store = store
        self._cameras = cameras
        self._checks = checks
        self._gate = gate
        self._settings = settings
        self._clock = clock

    async def take(
        self, batch_id: str, items: Sequence[object], camera_id: CameraId | None
    ) -> list[str]:
        """Store the items of a batch that has begun.

        Args:
            batch_id: Which.
            items: MotionFrames, as objects or as the bytes of their JSON.
            camera_id: Of those that name none.

        Returns:
            The keys of the jobs that wait, the most important first, then in order.

        Raises:
            StoreError: Not all are stored; StoreFullError: the disk is, or nearly so.
        """
        taken = _Taken(await self._store.batches.waiting_bytes())
        group: list[_Read] = []
        num_bytes = 0
        for position, item in enumerate(items):
            read = await self._read(batch_id, position, item, camera_id)
            group.append(read)
            num_bytes += len(read.image or b"")
            if num_bytes >= _MOST_BYTES or len(group) >= _MOST_ITEMS:
                await self._commit(batch_id, group, taken)
                group, num_bytes = [], 0
            await asyncio.sleep(0)  # frames of cameras have their turn
        if group:
            await self._commit(batch_id, group, taken)
        taken.waiting.sort(key=lambda each: -each[0])  # stable
        return [key for _, key in taken.waiting]

    async def _commit(self, batch_id: str, group: Sequence[_Read], taken: _Taken) -> None:
        if not self._gate.accepts(Priority.LOW):
            raise StoreFullError("the disk is nearly full; only more important frames are kept")
        taken.num_bytes += sum(len(each.image or b"") for each in group)
        if taken.num_bytes > self._settings.store.max_bytes * _MOST_OF_STORE:
            raise StoreFullError("the frames of batches would take half of store.max_bytes")
        if not self._cameras.is_saved:
            await self._cameras.save()
        named = [each.job.key for each in group if each.job is not None and each.is_named]
        known = await self._store.known(named)
        rows: list[NewItem] = []
        jobs: dict[str, Job] = {}
        images: dict[str, bytes] = {}
        for each in group:
            job = each.job
            key = None if job is None else job.key
            is_own = key is not None and key not in known.keys and key not in taken.keys
            rows.append(NewItem(each.position, each.camera_id, key, is_own, each.error))
            if job is None or key is None or not is_own:
                continue
            if key in known.elsewhere or job.job_id in taken.job_ids:
                job = job.model_copy(update={"webhook_id": key})
            taken.keys.add(key)
            taken.job_ids.add(job.job_id)
            jobs[key] = job
            if each.image is not None:
                images[key] = each.image
        await self._store.batches.add(batch_id, rows, list(jobs.values()), images)
        self._store.bytes_accepted += sum(map(len, images.values()))
        taken.waiting += [(job.priority, key) for key, job in jobs.items()]

    # -- one item --------------------------------------------------------------------------------

    async def _read(
        self, batch_id: str, position: int, item: object, camera_id: CameraId | None
    ) -> _Read:
        name: str | None = None
        try:
            is_large = isinstance(item, memoryview) and item.nbytes > _LARGE_BYTES
            frame = await asyncio.to_thread(self._unwrap, item) if is_large else self._unwrap(item)
            name = frame.options.camera_id or camera_id
            if name is None:
                raise PayloadError("bad_field", "camera_id: is needed, here or for the batch")
            job = self._job(batch_id, name, frame)
            is_named = frame.options.job_id is not None
            return _Read(position, name, job, frame.image, is_named)
        except (PayloadError, FrameError, ImageError, UrlRefusedError) as error:
            detail = ErrorDetail(code=error.code, message=str(error))
            return _Read(position, name, error=detail)
        except Exception:
            # Whatever a hostile item finds must not stop the others.
            logger.exception("an item of a batch broke its reader")
            return _Read(position, name, error=INTERNAL)

    def _unwrap(self, item: object) -> IncomingFrame:
        max_bytes = self._settings.frames.max_bytes
        content = item
        if isinstance(item, memoryview):
            most = max_json_bytes(max_bytes)
            if len(item) > most:
                raise PayloadError(
                    "payload_too_large", f"{len(item)} bytes of JSON; at most {most} are accepted"
                )
            content = read_json(bytes(item), max_bytes=most)
        if not isinstance(content, dict):
            raise PayloadError("bad_json", "must be a JSON object")
        return unwrap_frame(validate(MotionFrame, content), max_bytes)

    def _job(self, batch_id: str, camera_id: str, frame: IncomingFrame) -> Job:
        """The job of an item.

        Only its `priority` raises it: recorded frames have an intensity, and would all be critical.
        """
        submission = Submission(
            camera_id=camera_id,
            options=frame.options,
            image=frame.image,
            frame_url=frame.frame_url,
            origin=f"batch {batch_id}",
            content=frame.image or b"",
            arrived_at=self._clock.now(),
            arrived_monotonic=self._clock.monotonic(),
            source="batch",
        )
        facts = self._checks.image_of(submission)
        camera = self._cameras.admit(camera_id, submission.arrived_monotonic)
        job = resolve(submission, camera, facts, self._settings.queue)
        priority = frame.options.priority
        return job.model_copy(
            update={
                "batch_id": batch_id,
                "priority": Priority.LOW if priority is None else priority,
                "max_age": frame.options.max_age or MAX_AGE_S,
                "content": "",  # stands for no other frame, and no other for it
                "similarity": 0.0,
                "publish_image": False,
            }
        )
