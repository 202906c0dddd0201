"""Requests about the service and its queue."""

from typing import Literal

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
    """Which jobs; without `priority` and `camera_id`, all of the status."""

    status: Literal["queued", "processing"] = Field(
        default="queued", description="also those that an engine has: `processing`"
    )
    priority: PriorityName | None = None
    camera_id: CameraId | None = None


class Swept(Answer):
    """How far it is after a few seconds; what is left is done behind the answer."""

    count: int = Field(description="jobs so far")
    is_complete: bool = Field(description="false: it goes on, `queue/stats` shows how far")


class Cleanup(Request):
    """How old."""

    max_age_hours: float = Field(
        default=24.0, ge=0, le=8760, description="hours since their end; 0: all that have ended"
    )


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
    Swept,
    "Cancel the jobs that match and had come before; see `job/cancel`.",
    {"priority": "low"},
)
QUEUE_CLEANUP = Operation(
    "queue/cleanup",
    Cleanup,
    Swept,
    "Delete jobs that ended that long ago, with their frames.",
    {"max_age_hours": 24},
)

BRIDGE = (INFO, HEALTH, QUEUE_STATS)
QUEUE = (QUEUE_PAUSE, QUEUE_RESUME, QUEUE_PROCESSING, QUEUE_CLEAR, QUEUE_CLEANUP)
