"""Our operations at the paths, and in the words, that clients of other queues know."""

from datetime import UTC, datetime
from typing import Any, cast

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from gateway.access import TheBackend
from gateway.backend import Backend
from gateway.calls import add_call, add_route
from gateway.problems import Problem
from gateway.routes.batches import batch_words
from gateway.routes.state import health, health_of
from schemas.job import JobStatus
from schemas.requests.batches import BATCH_CANCEL, BATCH_GET, BatchDetail, BatchView
from schemas.requests.bridge import (
    HEALTH,
    QUEUE_PAUSE,
    QUEUE_RESUME,
    QUEUE_STATS,
    IsProcessing,
    StatsAnswer,
)
from schemas.requests.jobs import (
    JOB_CANCEL,
    JOB_GET,
    JOB_LIST,
    JOB_RETRY,
    JobDetail,
    JobView,
)
from schemas.requests.models import MODEL_INFO

router = APIRouter(tags=["other systems"])


def _summary(stats: StatsAnswer) -> dict[str, Any]:
    counts = {status.value: stats.status_counts.get(status, 0) for status in JobStatus}
    now = datetime.now(UTC).isoformat()
    return {**stats.model_dump(mode="json"), "stats": counts, "timestamp": now}


def _worker(stats: StatsAnswer) -> dict[str, Any]:
    return {
        "running": stats.processing,
        "processing": stats.active_jobs > 0,
        "aiServiceUrl": None,
        "status": stats.system_status,
    }


def _switched(answer: IsProcessing) -> dict[str, Any]:
    said = "the engines take jobs" if answer.processing else "the engines take no more jobs"
    return {"success": True, "message": said, "running": answer.processing}


def _done(what: str) -> Any:
    def shape(job: JobView) -> dict[str, Any]:
        return {"success": True, "message": what, "queueId": job.job_id, "status": job.status.value}

    return shape


def _enqueued(job: JobView) -> dict[str, Any]:
    return {**_done("enqueued")(job), "mediaItemId": job.retry_of}


async def queue_health(backend: TheBackend) -> Response:
    """Whether jobs are taken and done."""
    found, status = await health_of(backend)
    said = {"queue_healthy": found.status != "unhealthy", **found.model_dump(mode="json")}
    return JSONResponse(said, status)


async def task_status(request: Request, backend: TheBackend) -> Response:
    """A job or a batch, whichever has the id."""
    task_id = request.path_params["task_id"]
    found = await _either(backend, task_id, JOB_GET.name, BATCH_GET.name)
    if isinstance(found, JobDetail):
        is_over = found.status.is_final
        results = [found.result.model_dump(mode="json")] if found.result else []
        words = {"progress": 1.0 if is_over else 0.0, "results": results}
    else:
        words = batch_words(cast("BatchDetail", found))
    return JSONResponse({**found.model_dump(mode="json"), **words, "task_id": task_id})


async def cancel_task(request: Request, backend: TheBackend) -> Response:
    """End a job or a batch, whichever has the id."""
    task_id = request.path_params["task_id"]
    found = await _either(backend, task_id, JOB_CANCEL.name, BATCH_CANCEL.name)
    words = {} if isinstance(found, JobDetail) else batch_words(cast("BatchView", found))
    return JSONResponse(
        {**found.model_dump(mode="json"), **words, "task_id": task_id, "success": True}
    )


async def _either(backend: Backend, task_id: str, of_job: str, of_batch: str) -> Any:
    try:
        return await backend.call(of_job, {"job_id": task_id})
    except Problem as problem:
        if problem.code != "not_found":
            raise
    return await backend.call(of_batch, {"batch_id": task_id})


_ITEM = {"id": "job_id", "mediaItemId": "job_id", "task_id": "job_id"}

for path in ("/api/queue/stats", "/api/queue/summary", "/api/media/status"):
    add_call(router, "GET", path, QUEUE_STATS, shape=_summary)
add_call(router, "GET", "/api/queue/items", JOB_LIST)
add_call(router, "GET", "/api/queue/items/{id}", JOB_GET, names=_ITEM)
add_call(
    router,
    "POST",
    "/api/queue/items/{id}/cancel",
    JOB_CANCEL,
    names=_ITEM,
    shape=_done("cancelled"),
)
add_call(
    router,
    "POST",
    "/api/queue/items/{id}/retry",
    JOB_RETRY,
    status=202,
    names=_ITEM,
    shape=_done("queued again"),
)
add_call(
    router,
    "POST",
    "/api/queue/enqueue/{mediaItemId}",
    JOB_RETRY,
    status=202,
    names=_ITEM,
    shape=_enqueued,
)
add_call(router, "GET", "/api/queue/worker/status", QUEUE_STATS, shape=_worker)
add_call(router, "POST", "/api/queue/worker/start", QUEUE_RESUME, shape=_switched)
add_call(router, "POST", "/api/queue/worker/stop", QUEUE_PAUSE, shape=_switched)
add_route(router, "GET", "/api/queue/health", HEALTH, queue_health, shape=_done(""))
add_route(router, "GET", "/api/ai/health", HEALTH, health)
add_call(router, "GET", "/api/ai/info", MODEL_INFO)
add_route(
    router, "GET", "/api/queue/status/{task_id}", JOB_GET, task_status, names=_ITEM, shape=_done("")
)
add_route(
    router,
    "POST",
    "/api/queue/cancel/{task_id}",
    JOB_CANCEL,
    cancel_task,
    names=_ITEM,
    shape=_done(""),
)
