"""From submissions to committed jobs: examine, decide, commit, answer, queue.

Whatever arrived while the last commit ran is the next group (at most 64 frames): no frame waits for
company, and under load the groups grow by themselves. A source hears what became of its frames
after the commit that holds their jobs or rejections, in the order in which it handed them over;
while the store refuses it hears nothing, and nothing may be acknowledged.
"""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, TypeVar

from engine.errors import ImageError
from engine.images import ImageLimits, inspect
from schemas.frame import Priority
from schemas.job import ErrorDetail, Job, JobStatus
from service.boundary import INTERNAL, contained, isolate, keep_running
from service.cameras import Cameras
from service.delivery.deliver import Deliver
from service.delivery.documents import Rejection
from service.errors import FrameError, UrlRefusedError
from service.intake.rules import Candidate, Facts, ImageFacts, Plan, decide, resolve
from service.intake.submission import Accepted, Outcome, Repeated, Submission
from service.queue.job_queue import JobQueue
from service.settings import Settings
from service.store.retry import until_stored
from service.store.store import Known, Store

logger = logging.getLogger(__name__)

_T = TypeVar("_T")
_U = TypeVar("_U")

#: Of one group, and the most that a source hands over; keeps a transaction, and its pause, short.
MOST_IN_GROUP = 64
MOST_BYTES_IN_GROUP = 8 << 20
_MOST_WAITING = 64  # groups of sources, each of which waits for the answer to its last
_SLICE_S = 0.010  # after so much work the event loop gets a turn


class Gate(Protocol):
    """What the disk has to say; see `service.store.retention`."""

    def accepts(self, priority: Priority) -> bool:
        """Whether a frame of this class may be kept now."""


class UrlPolicy(Protocol):
    """Which addresses a frame may name; see `service.http.urls`."""

    def check_webhook(self, url: str) -> None:
        """Raises UrlRefusedError."""

    def check_fetch(self, url: str) -> None:
        """Raises UrlRefusedError."""


@dataclass(frozen=True, slots=True)
class Checks:
    """What a frame must pass that can be known without its pixels."""

    urls: UrlPolicy
    limits: ImageLimits

    def image_of(self, submission: Submission) -> ImageFacts:
        """Hold a frame against the rules.

        Raises:
            ImageError: The image is not acceptable.
            UrlRefusedError: A URL in the frame is not allowed.
        """
        if submission.options.webhook_url is not None:
            self.urls.check_webhook(submission.options.webhook_url)
        if submission.image is None:
            self.urls.check_fetch(submission.frame_url or "")
            return ImageFacts()
        header = inspect(submission.image, self.limits)
        digest = hashlib.sha256(submission.image).hexdigest()
        return ImageFacts(digest, header.width, header.height)


@dataclass(frozen=True, slots=True)
class _Examined:
    """A frame that has passed what can be seen of it alone."""

    submission: Submission
    image: ImageFacts


@dataclass(slots=True, eq=False)
class _Handed:
    """What a source has handed over, and its answer."""

    items: Sequence[_Examined | Rejection]
    answer: "asyncio.Future[list[Outcome]]"
    until_queued: bool  #: answer once the new jobs have their places in the queue


@dataclass(slots=True, eq=False)
class _Item:
    """One of a group, from its check to its outcome."""

    checked: Candidate | Rejection
    outcome: Outcome | None = None


class Intake:
    """Turns submissions into jobs.

    Args:
        store: Is asked for known ids and content.
        deliver: Commits.
        queue: Gets the committed jobs.
        download: Takes those whose image is still behind a URL.
        cameras: Everything kept per camera.
        checks: What a frame must pass.
        gate: Whether the disk takes more.
        settings: Queue and dedupe sections are used.
    """

    def __init__(
        self,
        store: Store,
        deliver: Deliver,
        queue: JobQueue,
        download: Callable[[Job], Awaitable[None]],
        cameras: Cameras,
        checks: Checks,
        gate: Gate,
        settings: Settings,
    ) -> None:
        self._store = store
        self._deliver = deliver
        self._queue = queue
        self._download = download
        self._cameras = cameras
        self._checks = checks
        self._gate = gate
        self._settings = settings
        self._arrivals: asyncio.Queue[_Handed] = asyncio.Queue(_MOST_WAITING)

    async def submit(
        self, items: Sequence[Submission | Rejection], *, until_queued: bool = False
    ) -> list[Outcome]:
        """Commit what a source brings, and say what became of each.

        Args:
            items: Frames, and what the source itself has refused, in order of arrival; at most
                `MOST_IN_GROUP`, and about `MOST_BYTES_IN_GROUP`.
            until_queued: Answer a moment later, when the new jobs have their places in the queue.

        Raises:
            RuntimeError: Nobody knows what became of them; they are to be handed over again.
        """
        if not items:
            return []
        answer: asyncio.Future[list[Outcome]] = asyncio.get_running_loop().create_future()
        examined = await _in_slices(self._examine, items)  # while the group before is committed
        await self._arrivals.put(_Handed(examined, answer, until_queued))
        return await answer

    async def run(self) -> None:
        """Take groups for ever."""
        while True:
            group = await self._gather()
            try:
                await self._admit(group)
            finally:
                for each in group:
                    if not each.answer.done():
                        each.answer.set_exception(RuntimeError("intake was interrupted"))

    async def _gather(self) -> list[_Handed]:
        """Wait for submissions and take those that are there already."""
        group = [await self._arrivals.get()]
        while _has_room(group) and not self._arrivals.empty():
            group.append(self._arrivals.get_nowait())
        return group

    async def _admit(self, group: Sequence[_Handed]) -> None:
        """One group: decide, commit, answer, queue."""
        handed = [item for each in group for item in each.items]
        items = [_Item(each) for each in await _in_slices(self._resolve, handed)]
        plans = await self._commit_or_refuse(items)
        outcomes = iter(item.outcome for item in items)
        taken = [[o for _, o in zip(each.items, outcomes, strict=False) if o] for each in group]
        _answer(group, taken, until_queued=False)
        await asyncio.sleep(0)  # a source acknowledges before the next step, which may wait
        for plan in plans:
            await self._enqueue(plan)
        _answer(group, taken, until_queued=True)

    # -- examine ---------------------------------------------------------------------------------

    def _examine(self, item: Submission | Rejection) -> _Examined | Rejection:
        if isinstance(item, Rejection):
            return item
        try:
            return _Examined(item, self._checks.image_of(item))
        except Exception as error:  # noqa: BLE001 - of one frame
            return _refusal(item, error)

    def _resolve(self, item: _Examined | Rejection) -> Candidate | Rejection:
        """The frame as a job, or why it is refused."""
        if isinstance(item, Rejection):
            return item
        frame = item.submission
        try:
            camera = self._cameras.admit(
                frame.camera_id, frame.arrived_monotonic, frame.camera_name
            )
            job = resolve(frame, camera, item.image, self._settings.queue)
        except Exception as error:  # noqa: BLE001 - of one frame
            return _refusal(frame, error)
        return Candidate(frame, camera, job)

    # -- decide and commit -----------------------------------------------------------------------

    async def _commit_or_refuse(self, items: Sequence[_Item]) -> list[Plan]:
        """Commit all; a frame that fails for a reason nobody foresaw is refused alone.

        If not even that can be written it is not the frame's fault, and nothing is acknowledged.
        """
        plans: list[Plan] = []
        what = "frames cannot be accepted"

        async def commit(some: Sequence[_Item]) -> None:
            plans.append(await self._commit(some))

        async def commit_or_refuse(each: _Item) -> None:
            if await isolate(commit, [each], what):
                refused = _Item(_refused(each.checked))
                await commit([refused])
                each.outcome = refused.outcome

        for each in await isolate(commit, items, what):
            await keep_running(partial(commit_or_refuse, each), "the refusal of a frame")
        return plans

    async def _commit(self, items: Sequence[_Item]) -> Plan:
        """Decide, then commit what was decided, however often the store must be asked.

        Decided once: a commit whose answer was lost has made the jobs, and a second decision would
        take their frames for copies of them.
        """
        what = f"{len(items)} frames cannot be stored, nothing is acknowledged"
        candidates = [each.checked for each in items if isinstance(each.checked, Candidate)]
        rejections = [each.checked for each in items if isinstance(each.checked, Rejection)]
        if (
            candidates and not self._cameras.is_saved
        ):  # before anything is retained in a camera's name
            await until_stored(self._cameras.save, "new cameras cannot be stored")
        facts = await until_stored(lambda: self._look_up(candidates), what)
        plan = decide(
            candidates,
            facts,
            has_window=bool(self._settings.dedupe.window),
            has_room=self._gate.accepts,
        )
        jobs = list(plan.jobs.values())
        await until_stored(lambda: self._deliver.accept(jobs, plan.images, rejections), what)
        _settle(items, plan)
        for camera_id, moment in plan.accepted_at.items():
            if (camera := self._cameras.get(camera_id)) is not None:
                camera.last_accepted = moment
        return plan

    async def _look_up(self, candidates: Sequence[Candidate]) -> Facts:
        """What is known of the ids and pictures of a group.

        Raises:
            StoreError: It is to be asked again.
        """
        given = [each.given_key for each in candidates if each.given_key is not None]
        known = await self._store.known(given) if given else Known()
        contents = [each.content for each in candidates if each.job.content]
        window = self._settings.dedupe.window
        newest = await self._store.same_content(contents, window) if window and contents else {}
        conflating = {
            each.camera.camera_id for each in candidates if each.camera.settings.newest_wins
        }
        waiting = self._queue.waiting_of(conflating) if conflating else ()
        return Facts(known.keys, known.elsewhere, newest, waiting)

    # -- after the commit ------------------------------------------------------------------------

    async def _enqueue(self, plan: Plan) -> None:
        """Let the new jobs wait for their turn, and say where they stand."""
        for ticket, newer in plan.replaced:
            with contained(f"{ticket.job_key} cannot be replaced"):
                await self._queue.replace(ticket.job_key, newer)
        new = [job for job in plan.jobs.values() if job.status is JobStatus.QUEUED]
        here, evicted = [], []
        for job in new:
            async with self._deliver.boundary(job):
                if job.key in plan.images:
                    here.append(job)
                else:
                    self._deliver.announce(job)
                    await self._download(job)
        for job in here:  # in one go: no engine takes a job before it is said to wait
            async with self._deliver.boundary(job):
                evicted += self._queue.push([job])
        with contained("new jobs cannot be announced"):
            for job, place in self._queue.places(here):
                self._deliver.announce(job, place)
        await self._queue.drop_evicted(evicted)
        with contained("known frames cannot be answered"):
            await self._answer_again(plan.repeats)

    async def _answer_again(self, job_keys: Sequence[str]) -> None:
        if job_keys:
            known = await until_stored(
                lambda: self._store.existing(job_keys), "known frames cannot be answered"
            )
            for job in known.values():
                self._deliver.announce(job)


async def _in_slices(do: Callable[[_T], _U], items: Sequence[_T]) -> list[_U]:
    """Do it to each; others have a turn on the event loop now and then."""
    done: list[_U] = []
    loop = asyncio.get_running_loop()
    yield_at = loop.time() + _SLICE_S
    for item in items:
        done.append(do(item))
        if loop.time() >= yield_at:
            await asyncio.sleep(0)
            yield_at = loop.time() + _SLICE_S
    return done


def _refusal(frame: Submission, error: Exception) -> Rejection:
    """What a frame is refused with; whatever a hostile one finds must not stop the others."""
    if isinstance(error, FrameError | ImageError | UrlRefusedError):
        return frame.refused(ErrorDetail(code=error.code, message=str(error)))
    logger.error("a frame of %s broke its checks", frame.camera_id, exc_info=error)
    return frame.refused(INTERNAL)


def _answer(
    group: Sequence[_Handed], taken: Sequence[list[Outcome]], *, until_queued: bool
) -> None:
    """Tell sources what became of what they brought; one that has gone does not wait any more."""
    for each, outcomes in zip(group, taken, strict=True):
        if each.until_queued is until_queued and not each.answer.done():
            each.answer.set_result(outcomes)


def _has_room(group: Sequence[_Handed]) -> bool:
    items = [item for each in group for item in each.items]
    num_bytes = sum(each.submission.num_bytes for each in items if isinstance(each, _Examined))
    return len(items) < MOST_IN_GROUP and num_bytes < MOST_BYTES_IN_GROUP


def _refused(checked: Candidate | Rejection) -> Rejection:
    if isinstance(checked, Rejection):  # what it says may be what cannot be written
        return replace(checked, origin=ascii(checked.origin), error=INTERNAL)
    return checked.submission.refused(INTERNAL)


def _settle(items: Sequence[_Item], plan: Plan) -> None:
    """Note what became of each of the items that are committed."""
    keys, new = iter(plan.keys), dict(plan.jobs)
    for each in items:
        if isinstance(each.checked, Rejection):
            each.outcome = each.checked
            continue
        key = next(keys)
        job = new.pop(key, None)  # the first frame of an id is the job, others repeat it
        each.outcome = Repeated(key) if job is None else Accepted(job)
