"""From an MQTT message to a committed job: validate, decide, commit, acknowledge, push.

Whatever arrived while the last commit ran is the next group (at most 64 frames): no frame waits for
company, and under load the groups grow by themselves. A frame is acknowledged after the commit that
holds its job or its rejection, in arrival order; when the store fails nothing is acknowledged, the
byte gate closes and the broker keeps the rest.
"""

import asyncio
import hashlib
import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf
from typing import Protocol

from broker.codec import PayloadError
from broker.message import Message
from broker.topics import valid_response_topic
from engine.errors import ImageError
from engine.images import ImageLimits, inspect
from schemas.frame import CAPTION, FrameOptions, Priority
from schemas.job import ErrorDetail, Job, JobStatus, job_key, split_key
from service.boundary import INTERNAL, contained, isolate, keep_running
from service.cameras import Cameras
from service.clock import Clock
from service.delivery.deliver import Deliver
from service.delivery.documents import Rejection
from service.errors import UNEXPECTED, FrameError, UrlRefusedError
from service.logs import Throttle
from service.queue.line import Line
from service.queue.tickets import ticket_of
from service.settings import Settings
from service.sources.forms import IncomingFrame, read_frame
from service.sources.routes import Route, Routes
from service.statistics import Statistics
from service.store.retry import until_stored
from service.store.store import Known, Store

logger = logging.getLogger(__name__)

_MOST_IN_GROUP = 64
_MOST_BYTES_IN_GROUP = 8 << 20  # keeps one transaction, and the pause for it, short
_SLICE_S = 0.010  # after so much work the event loop gets a turn


class Inbox(Protocol):
    """The receiving connection; see `broker.connection`."""

    inbox: asyncio.Queue[Message]

    def acknowledge(self, message: Message) -> bool:
        """Send PUBACK unless the connection has changed since."""

    def release(self, message: Message) -> None:
        """Give the message's bytes back to the byte gate."""


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


class Remote(Protocol):
    """Where jobs wait for their image; see `service.intake.downloads`."""

    async def want(self, job: Job) -> None:
        """Fetch the image, then let the job wait for its turn."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A frame that can be accepted."""

    message: Message
    route: Route
    frame: IncomingFrame
    sha256: str  # of the image; empty while it is still behind a URL
    width: int
    height: int

    @property
    def picture(self) -> tuple[str, str]:
        """What two deliveries of the same picture share."""
        return (self.route.camera_id, self.sha256)

    @property
    def job_key(self) -> str | None:
        """The key of its job; None when the sender leaves the id to us."""
        job_id = self.frame.options.job_id
        return None if job_id is None else job_key(self.route.camera_id, job_id)


@dataclass(slots=True)
class _Group:
    """What intake has decided about some messages and not yet committed."""

    jobs: list[Job] = field(default_factory=list)
    images: dict[str, bytes] = field(default_factory=dict)  # by job key
    rejections: list[Rejection] = field(default_factory=list)
    repeats: list[str] = field(default_factory=list)  # job keys that are answered once more
    accepted_at: dict[str, float] = field(default_factory=dict)  # by camera, for the cooldown


class Intake:
    """Turns messages into jobs.

    Args:
        inbox: Where messages come from and are acknowledged.
        routes: Which camera a topic means.
        store: Is asked for known ids and content.
        deliver: Commits.
        line: Gets the committed jobs.
        remote: Gets those whose image is still behind a URL.
        cameras: Settings per camera.
        urls: Which URLs a frame may name.
        gate: Whether the disk takes more.
        limits: What an image may be.
        settings: Frames, queue and dedupe sections are used.
        statistics: Counts frames.
        clock: For the place in line.
    """

    def __init__(
        self,
        inbox: Inbox,
        routes: Routes,
        store: Store,
        deliver: Deliver,
        line: Line,
        remote: Remote,
        cameras: Cameras,
        urls: UrlPolicy,
        gate: Gate,
        limits: ImageLimits,
        settings: Settings,
        statistics: Statistics,
        clock: Clock,
    ) -> None:
        self._inbox = inbox
        self._routes = routes
        self._store = store
        self._deliver = deliver
        self._line = line
        self._remote = remote
        self._cameras = cameras
        self._urls = urls
        self._gate = gate
        self._limits = limits
        self._settings = settings
        self._statistics = statistics
        self._clock = clock
        self._last_accepted: dict[str, float] = {}
        self._warnings = Throttle()

    async def run(self) -> None:
        """Take groups for ever."""
        while True:
            messages = await self._gather()
            await self._admit(messages)

    async def _gather(self) -> list[Message]:
        """Wait for a message and take those that are there already."""
        messages = [await self._inbox.inbox.get()]
        num_bytes = len(messages[0].payload)
        while (
            len(messages) < _MOST_IN_GROUP
            and num_bytes < _MOST_BYTES_IN_GROUP
            and not self._inbox.inbox.empty()
        ):
            messages.append(self._inbox.inbox.get_nowait())
            num_bytes += len(messages[-1].payload)
        return messages

    async def _admit(self, messages: Sequence[Message]) -> None:
        """One group: validate, decide, commit, acknowledge, push."""
        candidates: list[_Candidate | Rejection] = []
        yield_at = self._clock.monotonic() + _SLICE_S
        for message in messages:
            if (outcome := self._read(message)) is not None:
                candidates.append(outcome)
            if self._clock.monotonic() >= yield_at:
                await asyncio.sleep(0)
                yield_at = self._clock.monotonic() + _SLICE_S
        groups = await self._commit_or_refuse(candidates)
        for message in messages:
            self._inbox.acknowledge(message)
            self._inbox.release(message)
        for group in groups:
            await self._queue(group)

    # -- validate --------------------------------------------------------------------------------

    def _read(self, message: Message) -> _Candidate | Rejection | None:
        """What a message says, or why it is refused; None for a replay that is nobody's motion."""
        route = job_id = None
        try:
            route = self._routes.find(message.topic)
            if message.retain and not (route is not None and route.accept_retained):
                return None
            if route is None:
                raise PayloadError("bad_topic", f"{message.topic!r} names no valid camera")
            frame = read_frame(message, route.camera_id, max_image_bytes=self._limits.max_bytes)
            job_id = frame.options.job_id
            return self._check(message, route, frame)
        except PayloadError as error:
            return self._rejection(message, route, error.job_id, error.code, error)
        except (FrameError, ImageError, UrlRefusedError) as error:
            return self._rejection(message, route, job_id, error.code, error)
        except Exception:
            # Whatever a hostile payload finds must not stop the others.
            logger.exception("a frame on %s broke its reader", message.topic)
            return self._rejection(message, route, job_id, "internal", UNEXPECTED)

    def _check(self, message: Message, route: Route, frame: IncomingFrame) -> _Candidate:
        """Hold the frame against everything that can be known without its pixels.

        Raises:
            ImageError: The image is not acceptable.
            UrlRefusedError: A URL in the frame is not allowed.
        """
        if frame.options.webhook_url is not None:
            self._urls.check_webhook(frame.options.webhook_url)
        if frame.image is None:
            self._urls.check_fetch(frame.frame_url or "")
            return _Candidate(message, route, frame, "", 0, 0)
        info = inspect(frame.image, self._limits)
        digest = hashlib.sha256(frame.image).hexdigest()
        return _Candidate(message, route, frame, digest, info.width, info.height)

    def _rejection(
        self,
        message: Message,
        route: Route | None,
        job_id: str | None,
        code: str,
        error: Exception | str,
    ) -> Rejection:
        return Rejection(
            origin=message.topic,
            camera_id=route.camera_id if route else None,
            job_id=job_id,
            size=len(message.payload),
            sha256=hashlib.sha256(message.payload).hexdigest(),
            error=ErrorDetail(code=code, message=str(error)),
        )

    # -- decide and commit -----------------------------------------------------------------------

    async def _commit_or_refuse(
        self, candidates: Sequence[_Candidate | Rejection]
    ) -> Sequence[_Group]:
        """Commit all; a frame that fails for a reason nobody foresaw is refused alone.

        If not even that can be written it is not the frame's fault, and nothing is acknowledged.
        """
        groups: list[_Group] = []
        what = "frames cannot be accepted"

        async def commit(some: Sequence[_Candidate | Rejection]) -> None:
            groups.append(await self._commit(some))

        async def commit_or_refuse(each: _Candidate | Rejection) -> None:
            if await isolate(commit, [each], what):
                await commit([self._refused(each)])

        if candidates:
            for each in await isolate(commit, candidates, what):
                await keep_running(partial(commit_or_refuse, each), "the refusal of a frame")
        return groups

    def _refused(self, each: _Candidate | Rejection) -> Rejection:
        if isinstance(each, Rejection):  # what it says may be what cannot be written
            return replace(each, origin=ascii(each.origin), error=INTERNAL)
        job_id = each.frame.options.job_id
        return self._rejection(each.message, each.route, job_id, INTERNAL.code, INTERNAL.message)

    async def _commit(self, candidates: Sequence[_Candidate | Rejection]) -> _Group:
        """Decide, then commit what was decided, however often the store must be asked.

        Decided once: a commit whose answer was lost has made the jobs, and a second decision would
        take their frames for copies of them.
        """
        what = f"{len(candidates)} frames cannot be stored, nothing is acknowledged"
        group = await until_stored(lambda: self._decide(candidates), what)
        await until_stored(
            lambda: self._deliver.accept(group.jobs, group.images, group.rejections), what
        )
        self._last_accepted.update(group.accepted_at)
        return group

    async def _decide(self, candidates: Sequence[_Candidate | Rejection]) -> _Group:
        frames = [each for each in candidates if isinstance(each, _Candidate)]
        group = _Group(rejections=[each for each in candidates if isinstance(each, Rejection)])
        given = [each.job_key for each in frames if each.job_key is not None]
        known = await self._store.known(given) if given else Known()
        new_keys: set[str] = set()
        used_ids: set[str] = set()
        window = self._settings.dedupe.window
        pictures = [each.picture for each in frames if each.sha256]
        known_content = (
            await self._store.same_content(pictures, window) if window and pictures else {}
        )
        for each in frames:
            key = each.job_key
            if key is not None and (key in known.keys or key in new_keys):
                group.repeats.append(key)
                continue
            other = known_content.get(each.picture) if each.sha256 else None
            if other is not None and each.message.dup and key is None:
                group.repeats.append(other)
                continue
            job = self._judge(each, self._job(each), other, group.accepted_at)
            if job.key in known.elsewhere or job.job_id in used_ids:
                job = job.model_copy(update={"webhook_id": job.key})
            group.jobs.append(job)
            new_keys.add(job.key)
            used_ids.add(job.job_id)
            if job.status is JobStatus.QUEUED:
                group.accepted_at[job.camera_id] = each.message.arrived_monotonic
                if each.frame.image is not None:
                    group.images[job.key] = each.frame.image
                if window and each.sha256:
                    known_content[each.picture] = job.key
        return group

    def _judge(
        self, each: _Candidate, job: Job, other: str | None, accepted_at: dict[str, float]
    ) -> Job:
        """Whether the frame needs no caption, by rule."""
        camera = self._cameras.get(job.camera_id)
        if not camera.enabled:
            return _ended(job, JobStatus.DROPPED, "camera_disabled", "The camera is switched off")
        if job.motion_intensity < camera.min_intensity:
            message = f"Motion {job.motion_intensity:g} is under {camera.min_intensity:g}"
            return _ended(job, JobStatus.DROPPED, "low_intensity", message)
        if other is not None:
            _, other_id = split_key(other)
            return _ended(job, JobStatus.DUPLICATE, "content", f"The same picture as {other_id}")
        last = accepted_at.get(job.camera_id, self._last_accepted.get(job.camera_id, -inf))
        since = each.message.arrived_monotonic - last
        if since < camera.cooldown and job.priority < Priority.CRITICAL:
            message = f"Within {camera.cooldown:g} s of the frame before it"
            return _ended(job, JobStatus.DROPPED, "cooldown", message)
        if not self._gate.accepts(job.priority):
            message = "The disk is nearly full; only more important frames are kept"
            return _ended(job, JobStatus.DROPPED, "disk_full", message)
        return job

    def _job(self, each: _Candidate) -> Job:
        """The job with everything resolved: frame before camera before defaults."""
        options, camera = each.frame.options, self._cameras.get(each.route.camera_id)
        intensity = (
            each.route.motion_intensity
            if options.motion_intensity is None
            else options.motion_intensity
        )
        priority = options.priority
        webhook_url, is_trusted = self._cameras.webhook(each.route.camera_id)
        if options.webhook_url is not None:
            webhook_url, is_trusted = options.webhook_url, False
        tasks = options.tasks or camera.tasks
        if options.prompt is not None and CAPTION not in tasks:
            tasks = (CAPTION, *tasks)
        queue = self._settings.queue
        return Job(
            job_id=options.job_id or str(uuid.uuid4()),
            camera_id=each.route.camera_id,
            priority=Priority.from_intensity(intensity) if priority is None else priority,
            motion_intensity=intensity,
            tasks=tasks,
            prompt=options.prompt or camera.prompt,
            length=options.length or camera.length,
            location=options.location or camera.location,
            metadata=options.metadata,
            webhook_url=webhook_url,
            webhook_headers=self._webhook_headers(options, each.route.camera_id),
            webhook_is_trusted=is_trusted,
            frame_url=each.frame.frame_url,
            publish_image=camera.publish_image,
            similarity=self._cameras.similarity(each.route.camera_id),
            response_topic=self._response_topic(each),
            correlation_data=each.message.properties.correlation_data,
            sha256=each.sha256,
            num_bytes=len(each.frame.image or b""),
            width=each.width,
            height=each.height,
            taken_at=options.timestamp or each.message.arrived_at,
            received_at=each.message.arrived_at,
            arrived_monotonic=each.message.arrived_monotonic,
            max_age=options.max_age or queue.max_age,
            max_attempts=options.max_attempts or queue.max_attempts,
        )

    def _webhook_headers(self, options: FrameOptions, camera_id: str) -> dict[str, str] | None:
        """Never the operator's headers on a sender's URL: they may hold a token."""
        if options.webhook_url is not None:
            return options.webhook_headers
        return self._cameras.get(camera_id).webhook_headers

    def _response_topic(self, each: _Candidate) -> str | None:
        """Where the sender wants its answer; None, and a line in the log, where it may not."""
        topic, camera_id = each.message.properties.response_topic, each.route.camera_id
        mqtt = self._settings.mqtt
        if topic is None or valid_response_topic(
            topic, mqtt.response_topics, mqtt.base_topic, camera_id
        ):
            return topic
        if self._warnings.allows(camera_id, self._clock.monotonic()):
            logger.warning(
                "%s: no answer is sent to the response topic %.100r: mqtt.response_topics does not "
                "allow it for this camera",
                camera_id,
                topic,
                extra={"action": "response_topic_refused"},
            )
        return None

    # -- after the commit ------------------------------------------------------------------------

    async def _queue(self, group: _Group) -> None:
        """Let the new jobs wait for their turn, and say where they stand."""
        new = [job for job in group.jobs if job.status is JobStatus.QUEUED]
        here, evicted = [], []
        for job in new:
            async with self._deliver.boundary(job):
                if job.key in group.images:
                    if self._cameras.get(job.camera_id).newest_wins:
                        await self._line.replace(job.camera_id, job.priority, job)
                    here.append(job)
                else:
                    self._deliver.announce(job)
                    await self._remote.want(job)
        for job in here:  # in one go: no engine takes a job before it is said to wait
            async with self._deliver.boundary(job):
                evicted += self._line.push([ticket_of(job, self._clock)])
        with contained("new jobs cannot be announced"):
            for job, position, wait in self._line.places(here):
                self._deliver.announce(job, position, wait)
        await self._line.drop_evicted(evicted)
        with contained("known frames cannot be answered"):
            await self._answer_again(group.repeats)

    async def _answer_again(self, job_keys: Sequence[str]) -> None:
        if job_keys:
            known = await until_stored(
                lambda: self._store.existing(job_keys), "known frames cannot be answered"
            )
            for job in known.values():
                self._deliver.announce(job)


def _ended(job: Job, status: JobStatus, code: str, message: str) -> Job:
    error = ErrorDetail(code=code, message=message)
    return job.model_copy(update={"status": status, "error": error, "finished_at": job.received_at})
