"""Cameras: what is known of each, its settings, its present picture."""

from fastapi import APIRouter

from gateway.calls import add_call
from schemas.requests.cameras import (
    CAMERA_DESCRIBE,
    CAMERA_FORGET,
    CAMERA_GET,
    CAMERA_LIST,
    CAMERA_RESET,
    CAMERA_SET,
)

router = APIRouter(tags=["cameras"])

add_call(router, "GET", "/cameras", CAMERA_LIST)
add_call(router, "GET", "/cameras/{camera_id}", CAMERA_GET)
add_call(router, "PATCH", "/cameras/{camera_id}", CAMERA_SET)
add_call(router, "DELETE", "/cameras/{camera_id}", CAMERA_FORGET)
add_call(router, "POST", "/cameras/{camera_id}/reset", CAMERA_RESET)
add_call(router, "POST", "/cameras/{camera_id}/describe", CAMERA_DESCRIBE, status=202)
