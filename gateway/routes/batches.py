"""Batches: many frames in one request."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, cast

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from broker.codec import PayloadError, read_json
from gateway.access import TheBackend, TheOptions
from gateway.bodies import check_is_json, read_body, read_request, take_apart
from gateway.calls import add_call, add_route
from gateway.described import PICTURE, json_body
from gateway.frames import max_frame_bytes
from gateway.options import GatewayOptions
from schemas.frame import MotionFrame
from schemas.requests.batches import (
    BATCH_CANCEL,
    BATCH_GET,
    BATCH_LIST,
    BATCH_SUBMIT,
    BatchView,
)

#: States of a batch by the names that task queues have for them.
_STATUSES = {"running": "processing", "finished": "completed", "cancelled": "cancelled"}
#: What makes a body one of another system's: items are pictures, and say nothing of their own.
_FOREIGN = frozenset({"type", "config"})
_FIELDS = frozenset(MotionFrame.model_fields)
#: Names under which an item has its picture, as base64, data URI or address.
_PICTURES = ("image", "image_url", "data", "url")

router = APIRouter(tags=["batches"])


async def submit_batch(request: Request, backend: TheBackend, options: TheOptions) -> Response:
    """Take a batch in our form, or `{"type", "items", "config"}`."""
    content = await _content(request, options, "items")
    return _accepted(cast("BatchView", await backend.call(BATCH_SUBMIT.name, content)))


async def submit_job(request: Request, backend: TheBackend, options: TheOptions) -> Response:
    """Take `{"images": [base64], "config"}`; what it says of faces is not looked for."""
    content = await _content(request, options, "images")
    return _accepted(cast("BatchView", await backend.call(BATCH_SUBMIT.name, content)))


def batch_words(batch: BatchView) -> dict[str, Any]:
    """A batch in the words of task queues."""
    wait_s = batch.estimated_wait_time
    ends_at = None if wait_s is None else datetime.now(UTC) + timedelta(seconds=wait_s)
    return {
        "job_id": batch.batch_id,
        "status": _STATUSES[batch.state],
        "total_tasks": batch.total,
        "estimated_completion": ends_at and ends_at.isoformat(),
    }


def _accepted(batch: BatchView) -> Response:
    return JSONResponse({**batch.model_dump(mode="json"), **batch_words(batch)}, 202)


async def _content(request: Request, options: GatewayOptions, name: str) -> dict[str, Any]:
    """The fields of `batch/submit`, whichever form they came in."""
    body = await read_body(request, BATCH_SUBMIT.max_bytes)
    check_is_json(request, body)
    return await take_apart(body, partial(_read, body, name, options))


def _read(body: bytes, name: str, options: GatewayOptions) -> dict[str, Any]:
    """Take a batch apart; what is wrong with one item is its own result's matter.

    Raises:
        PayloadError: It is no JSON object, or its items are no list.
    """
    content = read_request(body, replace(BATCH_SUBMIT, array_field=name))
    if name == "items" and not content.keys() & _FOREIGN:
        return content
    config = content.pop("config", None) or {}
    content.pop("type", None)
    items = content.pop(name, [])
    if not isinstance(config, dict) or not isinstance(items, list):
        raise PayloadError("bad_field", f"config: must be an object, {name} a list")
    said = {each: value for each, value in config.items() if each in _FIELDS}
    said.setdefault("camera_id", options.camera_id)
    most = max_frame_bytes(options)
    return {**content, "items": [_item(each, said, most) for each in items]}


def _item(item: Any, said: dict[str, Any], max_bytes: int) -> Any:
    """A picture, or an object with one, as a MotionFrame; what is neither is left as it is.

    What another system says of its item, ids and names, comes back as metadata.
    """
    try:
        content = read_json(bytes(item), max_bytes=max_bytes)
    except PayloadError:
        return item
    if isinstance(content, str):
        return {**said, **_picture(content)}
    if not isinstance(content, dict):
        return item
    picture: dict[str, str] = {}
    for name in _PICTURES:
        if not picture and isinstance(content.get(name), str):
            picture = _picture(content.pop(name))
    own = {name: value for name, value in content.items() if name in _FIELDS}
    others = {name: value for name, value in content.items() if name not in _FIELDS}
    metadata = {"metadata": others} if others and "metadata" not in own else {}
    return {**said, **picture, **own, **metadata}


def _picture(text: str) -> dict[str, str]:
    is_url = text[:8].lower().startswith(("http://", "https://"))
    return {"frame_url" if is_url else "frame_data": text}


add_route(router, "POST", "/api/batch", BATCH_SUBMIT, submit_batch, status=202)
add_call(router, "GET", "/api/batch", BATCH_LIST)
add_call(router, "GET", "/api/batch/{batch_id}", BATCH_GET)
add_call(router, "DELETE", "/api/batch/{batch_id}", BATCH_CANCEL)
add_route(
    router,
    "POST",
    "/api/visage/job",
    BATCH_SUBMIT,
    submit_job,
    status=202,
    shape=batch_words,
    body=json_body({"images": [PICTURE]}, "base64, data URIs or addresses of images"),
)
