"""What becomes of the frames of one group: pure rules, without I/O and without a clock.

Frames are decided in order of arrival, and each sees what was decided about those before it: twelve
frames that came at once are judged as if they had come one after another.
"""

import hashlib
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from schemas.frame import CAPTION, Length, Priority, Task
from schemas.job import ErrorDetail, Job, JobStatus, job_key, split_key
from service.camera import Camera
from service.intake.submission import Submission
from service.queue.heap import Ticket
from service.settings import QueueSettings

#: Camera and `Job.content`: what two frames share that need one caption only.
ContentKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What is known of an image without its pixels; nothing while it is still behind a URL."""

    sha256: str = ""
    width: int = 0
    height: int = 0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A submission that can be accepted."""

    submission: Submission
    camera: Camera
    job: Job  #: as it will be unless a rule ends it

    @property
    def given_key(self) -> str | None:
        """The key of its job; None when the sender leaves the id to us."""
        job_id = self.submission.options.job_id
        return None if job_id is None else job_key(self.camera.camera_id, job_id)

    @property
    def content(self) -> ContentKey:
        """See `ContentKey`; without a content while the image is still behind a URL."""
        return (self.camera.camera_id, self.job.content)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the store and the queue know of the frames of a group."""

    stored: frozenset[str] = frozenset()  #: keys that are jobs already
    elsewhere: frozenset[str] = frozenset()  #: keys whose job id another camera has used
    contents: Mapping[ContentKey, str] = field(default_factory=dict)  #: the newest job's key
    waiting: Sequence[Ticket] = ()  #: of cameras where the newest wins


@dataclass(slots=True)
class Plan:
    """What was decided about a group and is still to be committed."""

    #: By key; a job that is final already has ended by rule.
    jobs: dict[str, Job] = field(default_factory=dict)
    images: dict[str, bytes] = field(default_factory=dict)  #: of jobs that wait
    keys: list[str] = field(default_factory=list)  #: for each candidate, its job
    #: Jobs that wait already, and the newer one that replaces each.
    replaced: list[tuple[Ticket, Job]] = field(default_factory=list)
    repeats: list[str] = field(default_factory=list)  #: keys that are answered once more
    accepted_at: dict[str, float] = field(default_factory=dict)  #: by camera, for the cooldown


def content_of(sha256: str, prompt: str | None, tasks: Iterable[Task], length: Length) -> str:
    """Name a picture together with what is asked of it: another question is another content.

    Args:
        sha256: Of the image bytes; empty gives an empty name.
    """
    if not sha256:
        return ""
    asked = [prompt or "", length.value, *(task.model_dump_json() for task in tasks)]
    return hashlib.sha256("\0".join([sha256, *asked]).encode()).hexdigest()


def resolve(submission: Submission, camera: Camera, image: ImageFacts, queue: QueueSettings) -> Job:
    """The job of a frame with everything resolved: frame before camera before defaults."""
    options, settings = submission.options, camera.settings
    intensity = options.motion_intensity
    if intensity is None:
        intensity = submission.motion_intensity
    priority = options.priority
    prompt, length = options.prompt or settings.prompt, options.length or settings.length
    tasks = options.tasks or settings.tasks
    if options.prompt is not None and CAPTION not in tasks:
        tasks = (CAPTION, *tasks)
    frigate = submission.frigate
    if frigate is not None and frigate.sub_label is not None and frigate.sub_label not in tasks:
        tasks = (*tasks, frigate.sub_label)
    webhook, own_url, reply = camera.webhook, options.webhook_url, submission.reply
    return Job(
        job_id=options.job_id or str(uuid.uuid4()),
        camera_id=submission.camera_id,
        priority=Priority.from_intensity(intensity) if priority is None else priority,
        motion_intensity=intensity,
        tasks=tasks,
        prompt=prompt,
        length=length,
        location=options.location or settings.location or submission.location,
        metadata=options.metadata,
        webhook_url=own_url or webhook.url,
        # Never the operator's headers on a sender's URL: they may hold a token.
        webhook_headers=options.webhook_headers if own_url else webhook.headers,
        webhook_is_trusted=webhook.is_trusted and not own_url,
        frame_url=submission.frame_url,
        publish_image=settings.publish_image,
        source=submission.source,
        is_asked_for=submission.is_asked_for,
        similarity=camera.similarity if frigate is None and not submission.is_asked_for else 0.0,
        response_topic=reply.topic if reply else None,
        correlation_data=reply.correlation_data if reply else None,
        sha256=image.sha256,
        content=content_of(image.sha256, prompt, tasks, length) if frigate is None else "",
        frigate=frigate,
        num_bytes=len(submission.image or b""),
        width=image.width,
        height=image.height,
        taken_at=options.timestamp or submission.arrived_at,
        received_at=submission.arrived_at,
        arrived_monotonic=submission.arrived_monotonic,
        max_age=options.max_age or queue.max_age,
        max_attempts=options.max_attempts or queue.max_attempts,
    )


def decide(
    candidates: Sequence[Candidate],
    facts: Facts,
    *,
    has_window: bool,
    has_room: Callable[[Priority], bool],
) -> Plan:
    """Decide about a group.

    Args:
        candidates: In order of arrival.
        facts: About them.
        has_window: Whether the same content is looked for at all.
        has_room: Whether the disk takes a frame of a class.
    """
    plan = Plan()
    contents = dict(facts.contents)
    waiting = {ticket.job_key: ticket for ticket in facts.waiting}
    used_ids: set[str] = set()
    for each in candidates:
        known = each.given_key
        if known is not None and (known in facts.stored or known in plan.jobs):
            _repeat(plan, known)
            continue
        twin = contents.get(each.content) if each.job.content else None
        if twin is not None and known is None and each.submission.is_redelivery:
            _repeat(plan, twin)  # the acknowledgement was lost, not the frame
            continue
        job = _judge(each, twin, plan.accepted_at, has_room)
        if job.key in facts.elsewhere or job.job_id in used_ids:
            job = job.model_copy(update={"webhook_id": job.key})
        used_ids.add(job.job_id)
        plan.jobs[job.key] = job
        plan.keys.append(job.key)
        if job.status is not JobStatus.QUEUED:
            continue
        if each.submission.image is not None:
            plan.images[job.key] = each.submission.image
        if not job.is_asked_for:
            plan.accepted_at[job.camera_id] = each.submission.arrived_monotonic
            if each.camera.settings.newest_wins:
                _conflate(plan, job, waiting, contents)
        if has_window and job.content:
            contents[each.content] = job.key
    return plan


def _repeat(plan: Plan, key: str) -> None:
    plan.keys.append(key)
    plan.repeats.append(key)


def _judge(
    each: Candidate,
    twin: str | None,
    accepted_at: Mapping[str, float],
    has_room: Callable[[Priority], bool],
) -> Job:
    """Whether the frame is to be captioned; the first rule against it ends it."""
    job = each.job
    if not job.is_asked_for and (spared := _spared(each, twin, accepted_at)) is not None:
        return spared
    if not has_room(job.priority):
        message = "The disk is nearly full; only more important frames are kept"
        return _ended(job, JobStatus.DROPPED, "disk_full", message)
    return job


def _spared(each: Candidate, twin: str | None, accepted_at: Mapping[str, float]) -> Job | None:
    """The end of a frame that needs no caption by the rules of its camera."""
    job, camera = each.job, each.camera
    settings = camera.settings
    if not settings.enabled:
        return _ended(job, JobStatus.DROPPED, "camera_disabled", "The camera is switched off")
    if job.motion_intensity < settings.min_intensity:
        message = f"Motion {job.motion_intensity:g} is under {settings.min_intensity:g}"
        return _ended(job, JobStatus.DROPPED, "low_intensity", message)
    if job.priority < settings.min_priority:
        message = f"Priority {job.priority.wire} is under {settings.min_priority.wire}"
        return _ended(job, JobStatus.DROPPED, "low_priority", message)
    if twin is not None:
        _, other_id = split_key(twin)
        return _ended(job, JobStatus.DUPLICATE, "content", f"The same picture as {other_id}")
    last = accepted_at.get(job.camera_id, camera.last_accepted)
    since = each.submission.arrived_monotonic - last
    if since < settings.cooldown and job.priority < Priority.CRITICAL:
        message = f"Within {settings.cooldown:g} s of the frame before it"
        return _ended(job, JobStatus.DROPPED, "cooldown", message)
    return None


def _conflate(
    plan: Plan, newer: Job, waiting: dict[str, Ticket], contents: dict[ContentKey, str]
) -> None:
    """Let a newer frame replace its camera's waiting ones of the same class and below.

    Their captions will not come, so they stand for no other frame any more.
    """
    gone = set()
    for ticket in list(waiting.values()):
        if _is_replaced(ticket, newer):
            gone.add(ticket.job_key)
            plan.replaced.append((waiting.pop(ticket.job_key), newer))
    for old in list(plan.jobs.values()):
        is_waiting = old.status is JobStatus.QUEUED and old.key in plan.images
        if old.key != newer.key and is_waiting and _is_replaced(old, newer):
            gone.add(old.key)
            message = f"Replaced by the newer {newer.job_id}"
            plan.jobs[old.key] = _ended(old, JobStatus.DROPPED, "conflated", message)
            del plan.images[old.key]
    for content in [each for each, key in contents.items() if key in gone]:
        del contents[content]


def _is_replaced(old: Job | Ticket, newer: Job) -> bool:
    is_of_its_camera = old.camera_id == newer.camera_id
    return is_of_its_camera and old.priority <= newer.priority and not old.is_asked_for


def _ended(job: Job, status: JobStatus, code: str, message: str) -> Job:
    error = ErrorDetail(code=code, message=message)
    return job.model_copy(update={"status": status, "error": error, "finished_at": job.received_at})
