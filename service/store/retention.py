"""Deletes what has been kept long enough, and keeps the disk from filling up.

Frames make nearly all of the volume, so they go first, the oldest finished ones before others. When
the disk is nearly full all the same the service degrades in this order: the frames of finished jobs
go; no frame stays after its job's end; new low frames are refused. A job that has not ended never
loses its frame. Age is the store's elapsed time: setting the clock deletes nothing.
"""

import asyncio
import logging
import shutil
from contextlib import suppress
from typing import Literal

from schemas.frame import Priority
from schemas.status import HealthCheck
from service.clock import Clock
from service.errors import StoreError
from service.settings import StoreSettings
from service.store.sqlite import DiskUsage
from service.store.store import Store

logger = logging.getLogger(__name__)

DiskState = Literal["ok", "low", "full"]

# A job without its frame takes about 1.5 KB, so this many take 300 MB: two a second for a day.
MOST_FINISHED_JOBS = 200_000
_JOBS_PER_DELETE = 100
# A flood of 170 MB/s is the most the store writes; a look every second bounds what it overshoots.
_LOOK_S = 1.0
_BYTES_BETWEEN_SWEEPS = 64 << 20
# In shares of min_free_bytes. A state is left above where it is entered, or it would flicker.
_ENTER_LOW, _LEAVE_LOW = 1.0, 1.25
_ENTER_FULL, _LEAVE_FULL = 0.5, 0.75


class Retention:
    """Sweeps the store by age, number and bytes.

    Args:
        store: What is swept; its `keep_finished_frames` is set from here.
        settings: The limits.
        clock: For the pauses between sweeps.
        disk_usage: Reads the disk the database is on; not asked when it is on a server.
        most_finished: Finished jobs kept.
    """

    def __init__(
        self,
        store: Store,
        settings: StoreSettings,
        clock: Clock,
        disk_usage: DiskUsage = shutil.disk_usage,
        most_finished: int = MOST_FINISHED_JOBS,
    ) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._disk_usage = disk_usage
        self._most_finished = most_finished
        self._state: DiskState = "ok"
        self._num_bytes = 0  # of all frames, as of the last sweep
        self._health = HealthCheck(status="healthy", message="ok")

    @property
    def state(self) -> DiskState:
        """How the disk is doing, as of the last sweep."""
        return self._state

    def accepts(self, priority: Priority) -> bool:
        """Whether a new frame of this class may be kept now."""
        return self._state != "full" or priority > Priority.LOW

    def health(self) -> HealthCheck:
        """For `bridge/health`."""
        return self._health

    async def run(self) -> None:
        """Sweep for ever: at each interval, and earlier when much has come in."""
        while True:
            bytes_before = self._store.bytes_accepted
            try:
                await self.sweep()
            except (StoreError, OSError) as error:
                logger.warning("clean-up failed: %s", error, extra={"action": "sweep_failed"})
            except Exception:  # the next sweep may do better
                logger.exception("clean-up failed", extra={"action": "sweep_failed"})
            await self._rest(bytes_before)

    async def sweep(self) -> None:
        """Delete what is over a limit and take the state of the disk.

        Raises:
            StoreError: The store refused; the state is taken all the same.
            OSError: The disk cannot be read.
        """
        try:
            await self._delete()
        except StoreError:
            self._take_state(await self._free_bytes())
            raise
        self._take_state(await self._free_bytes())

    async def _delete(self) -> None:
        await self._delete_old()
        await self._delete_many()
        await self._bound_frames()
        free = await self._free_bytes()
        if free is not None and free < self._threshold("low"):
            await self._make_room(free)

    async def _rest(self, bytes_before: int) -> None:
        """Wait for the next sweep; it comes early when much has come in or the disk has changed."""
        until = self._clock.monotonic() + self._settings.cleanup_interval
        while self._clock.monotonic() < until:
            await asyncio.sleep(min(_LOOK_S, self._settings.cleanup_interval))
            if self._store.bytes_accepted - bytes_before > _BYTES_BETWEEN_SWEEPS:
                return
            with suppress(StoreError, OSError):
                if self._judge(await self._free_bytes())[0] != self._state:
                    return

    async def _delete_old(self) -> None:
        kept = self._settings.keep_finished
        while await self._store.delete_finished(kept, _JOBS_PER_DELETE) == _JOBS_PER_DELETE:
            pass
        await self._store.batches.delete_ended(kept)

    async def _delete_many(self) -> None:
        counts = await self._store.counts()
        num_finished = sum(count for status, count in counts.items() if status.is_final)
        excess = num_finished - self._most_finished
        while excess > 0:
            limit = min(excess, _JOBS_PER_DELETE)
            if await self._store.delete_finished(0.0, limit) < limit:
                return
            excess -= limit

    async def _bound_frames(self) -> None:
        if await self._store.frame_bytes() > self._settings.max_bytes:
            await self._store.drop_finished_frames(self._settings.max_bytes)
        self._num_bytes = await self._store.frame_bytes()

    async def _make_room(self, free: int) -> None:
        """Give the space of finished frames back to the file system."""
        missing = int(self._threshold("ok")) - free
        await self._store.drop_finished_frames(max(0, self._num_bytes - missing))
        await self._store.shrink(missing)

    async def _free_bytes(self) -> int | None:
        folder = self._store.folder
        if folder is None:
            return None
        return (await asyncio.to_thread(self._disk_usage, folder)).free

    def _threshold(self, state: DiskState) -> float:
        """The free bytes below which `state` holds; for `ok` those at which all is well again."""
        shares = {
            "ok": _LEAVE_LOW,
            "low": _ENTER_LOW if self._state == "ok" else _LEAVE_LOW,
            "full": _LEAVE_FULL if self._state == "full" else _ENTER_FULL,
        }
        # Below its reserve the store takes no frame at all, so room is made before.
        return shares[state] * max(self._settings.min_free_bytes, self._store.reserve_bytes)

    def _take_state(self, free: int | None) -> None:
        state, health = self._judge(free)
        if state != self._state:
            level = logging.INFO if state == "ok" else logging.WARNING
            logger.log(
                level, "disk %s: %s", state, health.message, extra={"action": f"disk_{state}"}
            )
        self._state, self._health = state, health
        self._store.keep_finished_frames = state == "ok"

    def _judge(self, free: int | None) -> tuple[DiskState, HealthCheck]:
        if self._num_bytes > self._settings.max_bytes:
            taken = f"waiting frames take {_mib(self._num_bytes)}"
            return "full", _degraded(f"{taken}; low frames are refused")
        if free is None or free >= self._threshold("low"):
            return "ok", HealthCheck(status="healthy", message="ok")
        left = f"{_mib(free)} free"
        if free >= self._threshold("full"):
            return "low", _degraded(f"{left}; no frame is kept after its job's end")
        if free >= self._store.reserve_bytes:
            return "full", _degraded(f"{left}; low frames are refused")
        message = f"{left}; frames stay with the broker until there is room"
        return "full", HealthCheck(status="unhealthy", message=message)


def _degraded(message: str) -> HealthCheck:
    return HealthCheck(status="degraded", message=message)


def _mib(num_bytes: int) -> str:
    return f"{num_bytes / (1 << 20):.0f} MiB"
