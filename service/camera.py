"""One camera and everything that is kept for it; `service.cameras` bounds how many there are."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from math import inf
from typing import Any

from schemas.camera import CameraSettings
from schemas.job import JobStatus, Source


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where a camera's results are POSTed."""

    url: str | None = None
    headers: dict[str, str] | None = None
    is_trusted: bool = True  #: the operator's file names the URL


@dataclass(frozen=True, slots=True)
class SeenFrame:
    """What a frame that is being captioned, or was, looked like; see `engine.fingerprint`."""

    key: str
    fingerprint: bytes
    seen_at: float  #: on the monotonic clock
    importance: int


@dataclass(slots=True)
class CameraCounts:
    """Counts since a camera is known in this run; plain memory."""

    since: datetime
    frames: int = 0  #: that came, whatever became of them
    sources: Counter[Source] = field(default_factory=Counter)  #: of those that became jobs
    captions: int = 0
    captioned_at: float | None = None  #: on the monotonic clock; None: none since then
    #: Of all other ends, by error code, or by the rule that found a duplicate.
    reasons: defaultdict[JobStatus, Counter[str]] = field(
        default_factory=lambda: defaultdict(Counter)
    )

    def ended(self, status: JobStatus, reason: str | None, now: float) -> None:
        """Count a final status; `now` is on the monotonic clock."""
        if status is JobStatus.COMPLETED:
            self.captions += 1
            self.captioned_at = now
        else:
            self.reasons[status][reason or "unknown"] += 1


@dataclass(slots=True)
class Camera:
    """One camera and everything that is kept for it; moments are on the monotonic clock."""

    camera_id: str
    settings: CameraSettings  #: the file's, overlaid by changes at run time
    webhook: Webhook
    similarity: float  #: how alike two frames must be to be the same scene; 0: never
    is_in_file: bool  #: named by the operator's file
    seen: float  #: when its newest frame came; before the first, when it became known
    counts: CameraCounts
    name: str | None = None  #: what a foreign system calls it; see `service.sources.names`
    overrides: dict[str, Any] = field(default_factory=dict)  #: what was changed at run time
    is_seen: bool = False  #: a frame has come, in this run or an earlier one
    is_changing: bool = False  #: an order about it is being stored
    is_leaving: bool = False  #: and that order is to forget it: nothing is retained any more
    last_accepted: float = -inf  #: for the cooldown
    newest_caption_at: datetime | None = None  #: arrival of its frame; None: the store knows
    #: What its next frame is compared with, oldest first; None: the store knows.
    last_frames: list[SeenFrame] | None = None

    @property
    def is_configured(self) -> bool:
        """Whether somebody wanted it as it is, so that it is never forgotten for another."""
        return self.is_in_file or bool(self.overrides) or self.is_changing

    @property
    def is_snapshot_trusted(self) -> bool:
        """Whether the operator's file names the `snapshot_url`."""
        return "snapshot_url" not in self.overrides
