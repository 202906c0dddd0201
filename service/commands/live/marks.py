"""Signs of the live view: each says by its shape what its colour says too."""

from collections import Counter

from schemas.frame import Priority
from schemas.job import JobStatus

#: Two cells, so that what comes after them stands in one column.
PRIORITY_MARKS = {
    Priority.CRITICAL: "▲▲",
    Priority.HIGH: "▲ ",
    Priority.NORMAL: "● ",
    Priority.LOW: "▽ ",
}
PRIORITY_STYLES = {
    Priority.CRITICAL: "bold red",
    Priority.HIGH: "yellow",
    Priority.NORMAL: "green",
    Priority.LOW: "cyan",
}
HEALTH_STYLES = {"healthy": "green", "degraded": "yellow", "unhealthy": "bold red"}

_ENDINGS = {
    JobStatus.COMPLETED: ("✓", "green"),
    JobStatus.DUPLICATE: ("=", "dim"),
    JobStatus.FAILED: ("✗", "bold red"),
    JobStatus.DROPPED: ("dropped", "yellow"),
    JobStatus.EXPIRED: ("expired", "yellow"),
    JobStatus.CANCELLED: ("cancelled", "dim"),
    JobStatus.REJECTED: ("rejected", "red"),
}


def endings(counts: Counter[JobStatus]) -> list[tuple[str, str]]:
    """What became of a camera's frames, as texts with their styles; only what there was."""
    return [
        (f"{mark} {counts[status]}", style)
        for status, (mark, style) in _ENDINGS.items()
        if counts[status]
    ]


def lasting(seconds: float) -> str:
    """A time span in its largest unit."""
    if seconds < 60:
        return f"{max(0.0, seconds):.0f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min"
    return f"{seconds // 3600:.0f} h" if seconds < 86400 else f"{seconds // 86400:.0f} d"
