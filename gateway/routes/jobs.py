"""Jobs: what became of a frame, also for whoever waits for its end."""

import asyncio
from typing import Any, cast

from fastapi import APIRouter, Request, Response

from gateway.access import TheAsker, TheBackend
from gateway.backend import Backend
from gateway.calls import add_call, add_route, fields_of_request, say
from gateway.listening import or_hang_up
from gateway.problems import Problem
from schemas.requests.jobs import (
    JOB_CANCEL,
    JOB_GET,
    JOB_LIST,
    JOB_RESULT,
    JOB_RETRY,
    JobDetail,
)

LONGEST_WAIT_S = 300.0

router = APIRouter(tags=["jobs"])


async def get_job(request: Request, backend: TheBackend, asker: TheAsker) -> Response:
    """A job; with `wait` once it has ended, at the latest after so many seconds."""
    content = await fields_of_request(request, JOB_GET, {})
    wait_s = _seconds(content.pop("wait", "0"))
    job = await _get(backend, dict(content))
    if wait_s and not job.status.is_final:
        waiting = backend.wait_for_end(job.camera_id, job.job_id, wait_s)
        await or_hang_up(request, asyncio.ensure_future(waiting), asker.closing)
        job = await _get(backend, dict(content))
    return say(job)


async def _get(backend: Backend, content: dict[str, Any]) -> JobDetail:
    return cast("JobDetail", await backend.call(JOB_GET.name, content))


def _seconds(text: str) -> float:
    """How long is waited.

    Raises:
        Problem: It is no number of seconds.
    """
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= LONGEST_WAIT_S:
        raise Problem("bad_field", f"wait: must be 0 to {LONGEST_WAIT_S:.0f} seconds", param="wait")
    return seconds


_WAIT = {
    "name": "wait",
    "in": "query",
    "description": "seconds to wait for its end, at most",
    "schema": {"type": "number", "minimum": 0, "maximum": LONGEST_WAIT_S, "default": 0},
}

add_route(router, "GET", "/queue/job/{job_id}", JOB_GET, get_job, further_parameters=[_WAIT])
add_call(router, "GET", "/queue/job/{job_id}/result", JOB_RESULT)
add_call(router, "DELETE", "/queue/job/{job_id}", JOB_CANCEL)
add_call(router, "POST", "/queue/job/{job_id}/retry", JOB_RETRY, status=202)
add_call(router, "GET", "/queue/jobs", JOB_LIST)
