"""Follows Frigate's objects and reviews: what is due, its picture, a frame for intake.

A few pictures are fetched at once, the most urgent first. While Frigate does not answer nobody asks
it for more than one; what is due stays due. A last picture that cannot be had is a rejected frame
of its camera, so the operator sees why an object has no description.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

from broker.codec import PayloadError
from schemas.frigate import Subject
from schemas.job import ErrorDetail, Job, job_key
from service.clock import Clock
from service.delivery.documents import Rejection
from service.errors import FrameError, FrigateAccessError, HostError, ServiceError
from service.frigate_settings import FrigateSettings
from service.intake.submission import Accepted, Outcome, Submission
from service.intake.wrapping import unwrap_image
from service.logs import Throttle
from service.sources.frigate.events import Events
from service.sources.frigate.filters import Filter, filter_of
from service.sources.frigate.moments import Followed, Policy, Step, step
from service.sources.frigate.submissions import Submissions, job_id_of, origin_of
from service.sources.names import Named

logger = logging.getLogger(__name__)

_MOST_AT_ONCE = 4  # pictures of some MiB: bounds memory, and what Frigate is asked to do
_LOOK_S = 0.1  # between two looks at what is due; a thousand take a few ms
_LONGEST_LOOK_S = 0.5  # without news: how late what becomes due by itself is noticed
_MOST_UNEXPECTED = 5
_MOST_CAMERAS = 256  # whose filters are kept


class Pictures(Protocol):
    """Frigate's pictures; see `service.frigate.api`."""

    async def snapshot(self, event_id: str, *, crop: bool) -> bytes:
        """The best there is of an event.

        Raises:
            HostError, FrigateAccessError: Frigate gives no answer, or not to us.
            ServiceError: It has no such picture.
        """


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a picture is waited for.

    Attributes:
        delays_s: Between tries; the last one repeats.
        most_early: Tries of a first picture: the last one follows anyway.
        without_picture_s: Seconds after an end in which a picture may appear that is not there:
            Frigate writes it late.
        without_answer_s: The same for a Frigate that does not answer.
    """

    delays_s: Sequence[float] = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
    most_early: int = 5
    without_picture_s: float = 60.0
    without_answer_s: float = 3600.0


class Follower:
    """Orders descriptions.

    Args:
        events: What is followed.
        pictures: Where pictures come from.
        submit: Hands frames to intake.
        supersede: Drops a job that still waits, for a newer one.
        submissions: Makes frames.
        settings: What is wanted.
        clock: For what is due.
        patience: For tests.
    """

    def __init__(
        self,
        events: Events,
        pictures: Pictures,
        submit: Callable[[Sequence[Submission | Rejection]], Awaitable[list[Outcome]]],
        supersede: Callable[[str, Job], Awaitable[None]],
        submissions: Submissions,
        settings: FrigateSettings,
        clock: Clock,
        patience: Patience = Patience(),
    ) -> None:
        self._events = events
        self._pictures = pictures
        self._submit = submit
        self._supersede = supersede
        self._submissions = submissions
        self._settings = settings
        self._clock = clock
        self._patience = patience
        self._filters: dict[str, Filter] = {}
        self._policy = Policy(self._is_wanted, settings.early, settings.describe_updates)
        self._num_busy = 0
        self._num_silences = 0  # in a row
        self._silent_until = 0.0
        self._warnings = Throttle()

    def on_end(self, job: Job) -> None:
        """A job has ended; see `Deliver.subscribe`."""
        self._events.job_ended(job.key)

    async def recover(
        self, existing: Callable[[Sequence[str]], Awaitable[Mapping[str, Job]]]
    ) -> None:
        """Know what an earlier run has left, and which of its jobs wait still.

        Raises:
            StoreError: Nothing is known yet.
        """
        await self._events.load()
        keys: dict[str, Followed] = {}
        for each in self._events.open:
            camera = self._submissions.camera_of(each.subject)
            if camera is not None and each.num_described:
                last = replace(each, num_described=each.num_described - 1)
                keys[job_key(camera.camera_id, job_id_of(last, Step.UPDATE))] = each
        for key, job in (await existing(list(keys))).items():
            if not job.status.is_final:
                self._events.waits(keys[key], key)

    def awake(self) -> None:
        """Frigate is there again: ask at once."""
        self._silent_until, self._num_silences = 0.0, 0
        self._events.news.set()

    async def run(self) -> None:
        """Follow for ever."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LONGEST_LOOK_S):
                        await self._events.news.wait()
                self._events.news.clear()
                self.look(tasks)
                await asyncio.sleep(_LOOK_S)

    def look(self, tasks: asyncio.TaskGroup) -> None:
        """Begin with what is due, the most urgent first, as far as there is room."""
        now = self._clock.monotonic()
        due: list[tuple[Followed, Step]] = []
        for each in list(self._events.open):
            wanted = step(each, self._policy, now)
            if wanted is Step.LET_GO:
                self._events.finish(each)
            elif wanted is not Step.NOTHING:
                due.append((each, wanted))
        due.sort(key=lambda one: (-self._submissions.priority(one[0]), one[0].heard))
        for each, moment in due[: self._num_free(now)]:
            each.is_busy = True
            self._num_busy += 1
            tasks.create_task(self._describe(each, moment), name=f"frigate {each.subject.id}")

    def _num_free(self, now: float) -> int:
        if now < self._silent_until:
            return 0
        most = 1 if self._num_silences else _MOST_AT_ONCE
        return max(0, most - self._num_busy)

    async def _describe(self, each: Followed, moment: Step) -> None:
        try:
            await self._describe_or_wait(each, moment)
        except Exception:
            # Whatever one object finds must not stop the others, nor come again for ever.
            logger.exception(
                "%s cannot be described",
                origin_of(each.subject),
                extra={"action": "unexpected_error"},
            )
            self._delay(each)
            if each.num_failures >= _MOST_UNEXPECTED:
                self._events.finish(each)
        finally:
            each.is_busy = False
            self._num_busy -= 1
            self._events.news.set()

    async def _describe_or_wait(self, each: Followed, moment: Step) -> None:
        camera = self._submissions.camera_of(each.subject)
        if camera is None or each.subject.picture_id is None:
            self._events.finish(each)
            return
        subject = each.subject  # it may change meanwhile
        try:
            image = await self._picture(subject)
        except (HostError, FrigateAccessError) as error:
            self._note_silence(error)
            await self._miss(each, moment, camera, error, self._patience.without_answer_s)
        except (ServiceError, PayloadError) as error:
            self._note_answer()
            await self._miss(each, moment, camera, error, self._patience.without_picture_s)
        else:
            self._note_answer()
            await self._order(each, moment, camera, image)

    async def _picture(self, subject: Subject) -> bytes:
        image = await self._pictures.snapshot(subject.picture_id or "", crop=self._settings.crop)
        return unwrap_image(image, len(image))  # a proxy may answer anything with 200

    async def _order(self, each: Followed, moment: Step, camera: Named, image: bytes) -> None:
        """Hand the frame over; its job takes the place of an earlier one that still waits."""
        submission = self._submissions.of(each, moment, camera, image)
        earlier = each.waiting_key
        [outcome] = await self._submit([submission])
        each.num_described += 1
        each.described, each.described_at = each.subject, self._clock.monotonic()
        each.num_failures, each.not_before = 0, 0.0
        job = outcome.job if isinstance(outcome, Accepted) else None
        is_waiting = job is not None and not job.status.is_final
        self._events.waits(each, job.key if job is not None and is_waiting else None)
        if moment is Step.FINAL:
            self._events.finish(each)
        else:
            self._events.note(each)
        if earlier is not None and job is not None and is_waiting:
            await self._supersede(earlier, job)

    async def _miss(
        self, each: Followed, moment: Step, camera: Named, error: Exception, patience_s: float
    ) -> None:
        """There is no picture: try again later, or say so and give up."""
        now = self._delay(each)
        if moment is Step.EARLY:
            each.is_early_given_up = each.num_failures >= self._patience.most_early
        if moment is not Step.FINAL or each.ended is None or now < each.ended + patience_s:
            return
        failed = FrameError("fetch_failed", f"no picture of {each.subject.id}: {error}")
        refused = Rejection(
            origin=origin_of(each.subject),
            camera_id=camera.camera_id,
            job_id=job_id_of(each, moment),
            size=0,
            sha256=None,
            error=ErrorDetail(code=failed.code, message=str(failed)),
        )
        await self._submit([refused])
        self._events.finish(each)

    def _delay(self, each: Followed) -> float:
        """Let the next try be later than the last one; returns now."""
        now, delays = self._clock.monotonic(), self._patience.delays_s
        each.not_before = now + delays[min(each.num_failures, len(delays) - 1)]
        each.num_failures += 1
        return now

    def _note_silence(self, error: ServiceError) -> None:
        delays = self._patience.delays_s
        pause = delays[min(self._num_silences, len(delays) - 1)]
        self._num_silences += 1
        self._silent_until = self._clock.monotonic() + pause
        if self._warnings.allows("silence", self._clock.monotonic()):
            logger.warning(
                "Frigate gives no pictures: %s", error, extra={"action": "frigate_silent"}
            )

    def _note_answer(self) -> None:
        self._num_silences, self._silent_until = 0, 0.0

    def _is_wanted(self, subject: Subject) -> bool:
        found = self._filters.get(subject.camera)
        if found is None:
            if len(self._filters) >= _MOST_CAMERAS:  # whoever publishes can invent names
                self._filters.clear()
            found = self._filters[subject.camera] = filter_of(self._settings, subject.camera)
        return found.passes(subject)
