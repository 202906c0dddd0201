"""What the service says about itself and about a frame's way: the status and bridge documents."""

from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from typing_extensions import TypedDict  # as in schemas.outbox

from schemas.frame import PriorityName
from schemas.job import ErrorDetail, JobStatus


class StatusDocument(BaseModel):
    """One transition of one frame, on `<base>/<camera>/status`."""

    model_config = ConfigDict(frozen=True)

    job_id: str | None = Field(description="null only for a rejected frame that names none")
    camera_id: str
    status: JobStatus
    message: str
    priority: PriorityName | None = None
    queue_position: int | None = Field(default=None, description="1 is next")
    estimated_wait_time: float | None = Field(default=None, description="seconds")
    webhook_configured: bool = False
    attempts: int = 0
    error: ErrorDetail | None = None
    timestamp: AwareDatetime = Field(description="when the status was reached")
    taken_at: AwareDatetime | None = Field(
        default=None, description="when the frame was taken; null for a rejected one"
    )
    retry_of: str | None = Field(
        default=None, description="the job whose frame is captioned again, where it is one"
    )
    metadata: dict[str, Any] = Field(default_factory=dict)


class DeadLetter(BaseModel):
    """What could not be processed and why. Never the image."""

    model_config = ConfigDict(frozen=True)

    job_id: str | None = None
    topic: str
    camera_id: str | None
    size: int
    sha256: str | None
    error: ErrorDetail
    attempts: int
    timestamp: AwareDatetime


class LogDocument(BaseModel):
    """A warning or an error, on `<base>/bridge/log`."""

    model_config = ConfigDict(frozen=True)

    level: str
    code: str
    message: str
    timestamp: AwareDatetime


ModelState = Literal["loading", "ready", "unloaded", "failed"]


class ModelStatus(BaseModel):
    """The model of one engine."""

    model_config = ConfigDict(frozen=True)

    name: str
    revision: str
    device: str
    dtype: str
    state: ModelState
    message: str | None = Field(default=None, description="what it is doing, or why it failed")
    quantization: str | None = Field(
        default=None, description="of the weights: none, int8, int4; null until it is loaded"
    )
    max_crops: int | None = Field(
        default=None, description="most local crops of a frame; null: what the model was made for"
    )
    seconds_per_frame: float | None = Field(
        default=None,
        description="of a 1280×720 frame with a normal caption, measured at the start; "
        "null: not measured",
    )


class BridgeInfo(BaseModel):
    """Who is running here, on `<base>/bridge/info`."""

    model_config = ConfigDict(frozen=True)

    version: str
    instance: str = Field(description="tells two services apart; never the MQTT client id")
    mqtt_version: str
    model: ModelStatus
    limits: dict[str, float]
    settings: dict[str, Any] = Field(description="without secrets")


class Latency(BaseModel):
    """Seconds from arrival to the caption, of the last ten minutes."""

    model_config = ConfigDict(frozen=True)

    p50: float
    p95: float
    p99: float


SystemStatus = Literal["running", "paused", "loading", "unloaded", "failed", "stopping"]


class Stats(BaseModel):
    """Counts and rates, on `<base>/bridge/stats`."""

    model_config = ConfigDict(frozen=True)

    total_jobs: int = Field(description="kept in the store, of any status")
    active_jobs: int = Field(description="in the engines")
    queue_size: int
    max_concurrent_jobs: int
    status_counts: dict[JobStatus, int] = Field(
        description="of the jobs in the store; rejected frames are no jobs: since the start"
    )
    system_status: SystemStatus
    processing: bool = Field(description="whether the engines take jobs")
    average_processing_time: float = Field(description="seconds in the engine")
    webhook_success_rate: float | None = Field(description="of the last attempts; null: none yet")
    captions_per_minute: float
    queue_by_priority: dict[str, int]
    latency: dict[str, Latency] = Field(description="by priority")
    latency_overall: Latency | None = Field(description="of all; null: no captions")
    dropped: dict[str, int] = Field(description="by reason, e.g. queue_full, cooldown, conflated")
    duplicates: dict[str, int] = Field(description="by rule: content, similar")
    rejected: dict[str, int] = Field(description="by error code")
    preempted: int = Field(description="jobs that made room for a critical one")
    connection: dict[str, int] = Field(
        description="reconnects, lost_sessions, stale_acks, broker_dropped, unpublished"
    )
    uptime: float = Field(description="seconds")
    since: AwareDatetime = Field(
        description="the start of the service: from when all is counted that the store does not say"
    )


class Figures(TypedDict, total=False):
    """What one part of the service knows of `Stats`."""

    total_jobs: int
    active_jobs: int
    queue_size: int
    status_counts: dict[JobStatus, int]
    processing: bool
    average_processing_time: float
    webhook_success_rate: float | None
    captions_per_minute: float
    queue_by_priority: dict[str, int]
    latency: dict[str, Latency]
    latency_overall: Latency | None
    dropped: dict[str, int]
    duplicates: dict[str, int]
    rejected: dict[str, int]
    preempted: int
    connection: dict[str, int]


class GpuMemory(BaseModel):
    """Bytes."""

    model_config = ConfigDict(frozen=True)

    total: int
    used: int
    free: int


class GpuUtilization(BaseModel):
    """Percent."""

    model_config = ConfigDict(frozen=True)

    gpu: int
    memory: int


class Gpu(BaseModel):
    """One NVIDIA device; temperature in °C, power in watts."""

    model_config = ConfigDict(frozen=True)

    id: int
    name: str
    memory: GpuMemory
    temperature: int | None
    utilization: GpuUtilization | None
    power: float | None


class LoadedModel(BaseModel):
    """A model in memory; sizes in MiB."""

    model_config = ConfigDict(frozen=True)

    id: str
    name: str
    vram_mb: float
    ram_mb: float
    loaded_at: AwareDatetime


class Metrics(BaseModel):
    """The machine, on `<base>/bridge/metrics`; cpu and memory in percent."""

    model_config = ConfigDict(frozen=True)

    cpu: float
    memory: float
    device: str
    gpus: tuple[Gpu, ...]
    loaded_models: tuple[LoadedModel, ...]


class HealthCheck(BaseModel):
    """One part of the service."""

    model_config = ConfigDict(frozen=True)

    status: Literal["healthy", "degraded", "unhealthy"]
    message: str


class Health(BaseModel):
    """Whether the service can do its job, on `<base>/bridge/health`."""

    model_config = ConfigDict(frozen=True)

    status: Literal["healthy", "degraded", "unhealthy"]
    checks: dict[str, HealthCheck]


class UpdateStatus(BaseModel):
    """Which release runs and which is the newest, on `<base>/bridge/update`."""

    model_config = ConfigDict(frozen=True)

    installed_version: str
    latest_version: str
    release_url: str = Field(default="", description="what is new in it; empty: not known")
