"""One line of the log for each frame that ends, and few lines for a flood of the same end.

A caption is a line of its own, as it is what the service is for; whoever does not want what cameras
see in the journal gets the line without the words. Whoever sends frames decides how many are
dropped or refused, so of those that end alike a minute has a few lines and a count of the rest.
"""

import logging
from dataclasses import dataclass

from schemas.job import Job, JobStatus
from schemas.result import Result

logger = logging.getLogger(__name__)

_WINDOW_S = 60.0
_MOST_ALIKE = 10  # lines of one kind in a window: enough to see who it is about
_LONGEST_CAPTION = 600  # characters: more than a long caption has

_LEVELS = {JobStatus.FAILED: logging.WARNING, JobStatus.REJECTED: logging.WARNING}


@dataclass(slots=True)
class _Window:
    ends_at: float
    num_seen: int = 0


class EndLog:
    """Writes them.

    Args:
        captions: Whether the words are written, too.
    """

    def __init__(self, *, captions: bool = True) -> None:
        self._has_captions = captions
        self._windows: dict[tuple[str, str], _Window] = {}  # by status and reason: both are ours

    def captioned(self, job: Job, result: Result, seconds: float) -> None:
        """Camera, priority, seconds since the frame arrived, the caption, and what was found."""
        said = f": {_said(result)}" if self._has_captions else " captioned"
        logger.info(
            "%s %s %.2f s%s",
            job.camera_id,
            job.priority.wire,
            seconds,
            said,
            extra={"action": "job_completed", "job_id": job.job_id},
        )

    def ended(self, job: Job, reason: str | None, seconds: float, now: float) -> None:
        """An end without a caption.

        Args:
            job: As it ended.
            reason: The error code, or the rule.
            seconds: Since the frame arrived.
            now: In monotonic seconds.
        """
        why = job.error.message if job.error else ""
        text = f"{job.camera_id} {job.priority.wire} {job.status.value} after {seconds:.2f} s"
        self._write(job.status, reason or "", job.job_id, f"{text}: {why}" if why else text, now)

    def rejected(
        self, job_id: str | None, source: str, reason: str, message: str, now: float
    ) -> None:
        """A frame that never became a job; `source` is its camera, or where it came from."""
        self._write(JobStatus.REJECTED, reason, job_id, f"{source} rejected: {message}", now)

    def _write(
        self, status: JobStatus, reason: str, job_id: str | None, text: str, now: float
    ) -> None:
        window = self._windows.get((status.value, reason))
        more = ""
        if window is None or now >= window.ends_at:
            left_out = max(0, window.num_seen - _MOST_ALIKE) if window else 0
            more = f" (and {left_out} like it before)" if left_out else ""
            window = self._windows[status.value, reason] = _Window(now + _WINDOW_S)
        window.num_seen += 1
        if window.num_seen > _MOST_ALIKE:
            return
        action = "frame_rejected" if status is JobStatus.REJECTED else f"job_{status.value}"
        extra = {"action": action, "job_id": job_id}
        logger.log(_LEVELS.get(status, logging.INFO), "%s%s", text, more, extra=extra)


def _said(result: Result) -> str:
    """What was said of a frame, in one line."""
    parts = [result.caption] if result.caption else []
    asked = [each for each in result.answers if each.answer != result.caption]
    parts += [f"{each.question} {each.answer}" for each in asked]
    found = [f"{each.count} {each.label}" for each in result.objects]
    found += [f"{each.count} {each.label}" for each in result.points]
    text = " | ".join(" ".join(part.split()) for part in parts)[:_LONGEST_CAPTION]
    return " ".join([text, f"[{', '.join(found)}]"] if found else [text])
