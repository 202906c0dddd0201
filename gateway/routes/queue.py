"""The queue: counts, rates, and orders to all of it."""

from fastapi import APIRouter

from gateway.calls import add_call
from schemas.requests.bridge import (
    QUEUE_CLEANUP,
    QUEUE_CLEAR,
    QUEUE_PAUSE,
    QUEUE_PROCESSING,
    QUEUE_RESUME,
    QUEUE_STATS,
)

router = APIRouter(tags=["queue"])

add_call(router, "GET", "/queue/stats", QUEUE_STATS)
add_call(router, "POST", "/queue/pause", QUEUE_PAUSE)
add_call(router, "POST", "/queue/resume", QUEUE_RESUME)
add_call(router, "POST", "/queue/processing", QUEUE_PROCESSING)
add_call(router, "POST", "/queue/clear", QUEUE_CLEAR)
add_call(router, "POST", "/queue/cleanup", QUEUE_CLEANUP)
