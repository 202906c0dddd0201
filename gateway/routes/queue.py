"""The queue: counts, rates, and orders to all of it."""

from fastapi import APIRouter, Request, Response

from gateway.backend import Backend
from gateway.calls import add_call, add_route, fields_of_request, say
from schemas.requests.bridge import (
    QUEUE_CLEANUP,
    QUEUE_CLEAR,
    QUEUE_PAUSE,
    QUEUE_PROCESSING,
    QUEUE_RESUME,
    QUEUE_STATS,
)

router = APIRouter(tags=["queue"])


async def stats(request: Request) -> Response:
    """Counts and rates; see `gateway.direct`."""
    backend: Backend = request.app.state.backend
    content = await fields_of_request(request, QUEUE_STATS, {})
    return say(await backend.call(QUEUE_STATS.name, content))


add_route(router, "GET", "/queue/stats", QUEUE_STATS, stats)
add_call(router, "POST", "/queue/pause", QUEUE_PAUSE)
add_call(router, "POST", "/queue/resume", QUEUE_RESUME)
add_call(router, "POST", "/queue/processing", QUEUE_PROCESSING)
add_call(router, "POST", "/queue/clear", QUEUE_CLEAR)
add_call(router, "POST", "/queue/cleanup", QUEUE_CLEANUP)
