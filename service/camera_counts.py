"""What became of one camera's frames; kept with the camera, see `service.cameras`."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime

from schemas.job import JobStatus


@dataclass(slots=True)
class CameraCounts:
    """Counts since a camera is known in this run; plain memory."""

    since: datetime
    frames: int = 0  #: that came, whatever became of them
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
