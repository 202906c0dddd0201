"""Requests about the service and its queue."""

from pydantic import Field

from schemas.frame import CameraId, PriorityName
from schemas.requests.envelope import Answer, Nothing, Request
from schemas.requests.operation import Operation
from schemas.status import BridgeInfo, Health, Stats


class InfoAnswer(BridgeInfo, Answer):
    """As on `bridge/info`."""


class HealthAnswer(Health, Answer):
    """As on `bridge/health`."""


class StatsAnswer(Stats, Answer):
    """As on `bridge/stats`."""


class Processing(Request):
    """A switch."""

    enabled: bool = Field(description="`ON` and `OFF` alone do as well")


class IsProcessing(Answer):
    """Whether the engines take jobs."""

    processing: bool


class QueueFilter(Request):
    """Which waiting jobs; none of them: all."""

    priority: PriorityName | None = None
    camera_id: CameraId | None = None


class Cleared(Answer):
    """How many jobs were cancelled."""

    count: int


class Cleanup(Request):
    """How old."""

    max_age_hours: float = Field(default=24.0, ge=0, le=8760)


class CleanedUp(Answer):
    """How many jobs were deleted, with their frames."""

    count: int


INFO = Operation("info", Nothing, InfoAnswer, "Version, model, limits and settings.")
HEALTH = Operation("health", Nothing, HealthAnswer, "Whether the service can do its job.")
QUEUE_STATS = Operation(
    "queue/stats",
    Nothing,
    StatsAnswer,
    "Counts and rates; `bridge/stats` is published with them.",
)
QUEUE_PAUSE = Operation(
    "queue/pause",
    Nothing,
    IsProcessing,
    "The engines take no more jobs, frames are still accepted; kept across restarts.",
)
QUEUE_RESUME = Operation("queue/resume", Nothing, IsProcessing, "The engines take jobs again.")
QUEUE_PROCESSING = Operation(
    "queue/processing",
    Processing,
    IsProcessing,
    "Pause and resume as one switch.",
    {"enabled": False},
)
QUEUE_CLEAR = Operation(
    "queue/clear",
    QueueFilter,
    Cleared,
    "Cancel the waiting jobs that match.",
    {"priority": "low"},
)
QUEUE_CLEANUP = Operation(
    "queue/cleanup",
    Cleanup,
    CleanedUp,
    "Delete jobs that ended that long ago, with their frames.",
    {"max_age_hours": 24},
)

BRIDGE = (INFO, HEALTH, QUEUE_STATS)
QUEUE = (QUEUE_PAUSE, QUEUE_RESUME, QUEUE_PROCESSING)
