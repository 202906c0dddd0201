"""What others left behind: jobs of the last run, rows nobody can read, instances that are no more.

Each is brought back into the ordinary way: a job waits again or ends, a message is sent or goes to
the dead letters.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from schemas.job import Job
from service.cameras import Cameras
from service.clock import Clock
from service.delivery.deliver import Deliver
from service.errors import FrameError, StoreError
from service.intake.downloads import Downloads
from service.queue.job_queue import JobQueue
from service.store.instances import BEAT_S, SilentInstance
from service.store.retry import until_stored
from service.store.store import Store

logger = logging.getLogger(__name__)


class Recovery:
    """Finds them and hands them on.

    Args:
        store: Where they are.
        deliver: Ends what cannot be read.
        queue: Gets the jobs that are complete.
        downloads: Gets those whose image is still behind a URL.
        cameras: Know whose jobs wait.
        clock: For silences.
        beat_s: Seconds between two looks at the other instances.
    """

    def __init__(
        self,
        store: Store,
        deliver: Deliver,
        queue: JobQueue,
        downloads: Downloads,
        cameras: Cameras,
        clock: Clock,
        beat_s: float = BEAT_S,
    ) -> None:
        self._store = store
        self._deliver = deliver
        self._queue = queue
        self._downloads = downloads
        self._cameras = cameras
        self._clock = clock
        self._beat_s = beat_s

    async def take_back(self, jobs: Sequence[Job]) -> None:
        """Let jobs that are queued in the store wait for their turn here."""
        evicted = []
        for job in jobs:
            async with self._deliver.boundary(job):
                self._know_camera_of(job)
                if job.frame_url is not None and not job.num_bytes:
                    await self._downloads.add(job)
                else:
                    evicted += self._queue.push([job])
        await self._queue.drop_evicted(evicted)
        if jobs:
            logger.info("%d jobs of an earlier run wait again", len(jobs))

    def _know_camera_of(self, job: Job) -> None:
        """Another instance's camera may be new to us; one too many is captioned all the same."""
        with suppress(FrameError):
            moment = job.arrived_monotonic
            self._cameras.admit(
                job.camera_id, self._clock.monotonic() if moment is None else moment
            )

    async def run(self) -> None:
        """Look for ever.

        Raises:
            InstanceInUseError: A later process uses our name.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._set_aside_unreadable(), name="recovery-unreadable")
            if not self._store.instances.is_alone:
                tasks.create_task(self._watch_instances(), name="recovery-instances")

    async def _set_aside_unreadable(self) -> None:
        while True:
            row = await self._store.unreadable.next()
            try:
                await until_stored(
                    partial(self._deliver.set_aside, row),
                    f"an unreadable row of {row.table} cannot be set aside",
                )
            except Exception:  # the one row stays as it is, and is left out from now on
                logger.exception("a row of %s cannot be set aside", row.table)
            else:
                self._store.unreadable.settle(row)

    async def _watch_instances(self) -> None:
        while True:
            await asyncio.sleep(self._beat_s)
            try:
                silent = await self._store.instances.silent(self._clock.monotonic())
            except StoreError as error:
                logger.warning(
                    "other instances cannot be seen: %s", error, extra={"action": "store_failed"}
                )
                continue
            for each in silent:
                await self._take_over(each)

    async def _take_over(self, gone: SilentInstance) -> None:
        jobs = await until_stored(
            partial(self._store.instances.take_over, gone),
            f"the rows of {gone.name} cannot be taken over",
        )
        logger.warning(
            "instance %s is no more, its %d jobs are ours",
            gone.name,
            len(jobs),
            extra={"action": "instance_taken_over"},
        )
        await self.take_back(jobs)
