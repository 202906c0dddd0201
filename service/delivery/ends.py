"""Who waits for the end of a job: told when the end is committed, by whoever committed it.

Nobody looks into the store again and again; who stops waiting is forgotten. Those who ask over MQTT
and those who ask over HTTP have places of their own: many of the one kind leave room for the other.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from schemas.job import Job

MOST_WAITING = 100  # of one kind


class TooManyWaitError(Exception):
    """`MOST_WAITING` of the kind wait already."""


class Ends:
    """The waiting, by job."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[asyncio.Future[Job]]] = {}
        self._num_waiting: Counter[str] = Counter()  # by kind

    def __len__(self) -> int:
        return self._num_waiting.total()

    @contextmanager
    def of(self, job_key: str, kind: str = "") -> Iterator["asyncio.Future[Job]"]:
        """Hear of a job's end while the block lasts; the job need not be there yet.

        Args:
            job_key: Its key.
            kind: Of who waits.

        Raises:
            TooManyWaitError: Nobody more of this kind can.
        """
        if self._num_waiting[kind] >= MOST_WAITING:
            raise TooManyWaitError
        end: asyncio.Future[Job] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(job_key, []).append(end)
        self._num_waiting[kind] += 1
        try:
            yield end
        finally:
            self._num_waiting[kind] -= 1
            others = [each for each in self._waiting[job_key] if each is not end]
            self._waiting[job_key] = others
            if not others:
                del self._waiting[job_key]

    def tell(self, job: Job) -> None:
        """A job has ended, and the store knows."""
        for end in self._waiting.get(job.key, ()):
            if not end.done():
                end.set_result(job)
