"""`/v1/stats` and `/v1/metrics`: how the service is doing, in the words of Moondream Station."""

from typing import Any

from fastapi import APIRouter

from gateway.access import TheBackend, TheOptions
from gateway.chat.model import plain_name
from schemas.job import JobStatus
from schemas.status import Metrics

router = APIRouter(prefix="/v1", include_in_schema=False)


@router.get("/stats")
async def stats(backend: TheBackend, options: TheOptions) -> dict[str, Any]:
    """The station's keys, and ours of `queue/stats` beside them."""
    readings = await backend.readings()
    ours = readings.stats
    station = {
        "workers": ours.max_concurrent_jobs,
        "max_queue_size": round(readings.info.limits["queue_capacity"]),
        "processing": ours.active_jobs,
        "is_processing": ours.processing,  # what ours calls by the station's name
        "timeouts": ours.status_counts.get(JobStatus.EXPIRED, 0),
        "default_timeout": options.timeout_s,
        "model": plain_name(readings.info.model.name),
        "status": ours.system_status,
        "requests_processed": ours.status_counts.get(JobStatus.COMPLETED, 0),
    }
    return {**ours.model_dump(mode="json"), **station}


@router.get("/metrics")
async def metrics(backend: TheBackend) -> Metrics:
    """The machine, as on `bridge/metrics`."""
    return (await backend.readings()).metrics
