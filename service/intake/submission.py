"""What a source hands to intake, and what it gets back once the store has it.

Everything that brings frames (MQTT topics, folders, HTTP) makes the same `Submission`; what the
wire looked like is forgotten here.
"""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime

from schemas.frame import MAX_LOCATION_CHARACTERS, FrameOptions
from schemas.job import ErrorDetail, FrigateOrigin, Job, Source
from service.delivery.documents import Rejection


@dataclass(frozen=True, slots=True)
class Reply:
    """Where the final document goes besides the camera's own topics (MQTT 5, section 4.10)."""

    topic: str
    correlation_data: bytes | None = None


@dataclass(frozen=True, slots=True)
class Submission:
    """One frame of one camera; exactly one of `image` and `frame_url` is set."""

    camera_id: str
    options: FrameOptions
    image: bytes | None = field(repr=False)
    frame_url: str | None
    origin: str  #: the topic, or another name of where it came from, for a dead letter
    #: As it came, wrapping included; what a dead letter is about.
    content: bytes = field(repr=False)
    arrived_at: datetime
    arrived_monotonic: float
    motion_intensity: float = 0.5  #: of its source; used where the frame does not say it
    is_redelivery: bool = False  #: the sender may have handed it over before
    is_asked_for: bool = False  #: by name: no rule that spares its camera a caption is for it
    reply: Reply | None = None
    #: Of an object of Frigate's: it is asked for, so no other frame's caption stands for it.
    frigate: FrigateOrigin | None = None
    camera_name: str | None = None  #: what a foreign system calls the camera
    source: Source = "mqtt"

    @property
    def location(self) -> str | None:
        """Where neither the frame nor the camera says it: the foreign name that became an id."""
        name = self.camera_name
        if name is None or name == self.camera_id:
            return None
        # One that JSON has brought can hold lone surrogates, which no store takes.
        return name[:MAX_LOCATION_CHARACTERS].encode("utf-8", "replace").decode()

    @property
    def num_bytes(self) -> int:
        """As it came, wrapping included."""
        return len(self.content)

    def refused(self, error: ErrorDetail) -> Rejection:
        """The rejection of this frame."""
        return Rejection(
            origin=self.origin,
            camera_id=self.camera_id,
            job_id=self.options.job_id,
            size=self.num_bytes,
            sha256=hashlib.sha256(self.content).hexdigest(),
            error=error,
        )


@dataclass(frozen=True, slots=True)
class Accepted:
    """A frame that is a job now; the job may be final from the start."""

    job: Job


@dataclass(frozen=True, slots=True)
class Repeated:
    """A frame that was a job before: the same id, or delivered twice."""

    job_key: str


Outcome = Accepted | Repeated | Rejection
