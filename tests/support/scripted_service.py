"""A gateway with the live page and without a service: what it says is what a test lets it say."""

import asyncio
import hashlib
import io
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from PIL import Image, ImageDraw
from pydantic import BaseModel

from gateway.options import GatewayOptions
from gateway.problems import Problem, answer_problem
from gateway.routes import page
from gateway.server import listen, serving
from schemas.requests.bridge import HealthAnswer

_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
#: As the gateway sends it, so that what it forbids shows.
POLICY = "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'"
_ENDED = None
_NOTHING_YET: dict[str, Any] = {"GET /captions": {"items": [], "next_before": None}}
_SKY = ("#7d93ad", "#48506a", "#9aa89a", "#b49c84")


def moment(seconds_ago: float = 0) -> str:
    """A time as documents say it."""
    return (datetime.now(UTC) - timedelta(seconds=seconds_ago)).isoformat()


def result(camera_id: str, caption: str, **fields: Any) -> dict[str, Any]:
    """A result document as an event; `result=` changes fields inside it."""
    priority = fields.pop("priority", "normal")
    said = {
        "caption": caption,
        "short_caption": caption[:255],
        "confidence": 0.9,
        "answers": [],
        "objects": [],
        "points": [],
        "processing_time": 0.3,
        "queue_time": 0.1,
        "model_info": {
            "model": "demo/model",
            "revision": "local",
            "device": "cpu",
            "camera_id": camera_id,
            "motion_intensity": 0.5,
            "priority": priority,
        },
    } | fields.pop("result", {})
    return {
        "job_id": "job",
        "camera_id": camera_id,
        "status": "completed",
        "result": said,
        "error_message": None,
        "timestamp": moment(),
        "taken_at": moment(),
        "location": None,
        "metadata": {},
        "image": hashlib.blake2s(caption.encode(), digest_size=8).hexdigest(),
        "is_newest": True,
    } | fields


def status(camera_id: str, name: str, **fields: Any) -> dict[str, Any]:
    """A status document."""
    return {
        "job_id": "job",
        "camera_id": camera_id,
        "status": name,
        "message": name,
        "priority": "normal",
        "error": None,
        "timestamp": moment(),
    } | fields


def stats(**fields: Any) -> dict[str, Any]:
    """Figures of a service at rest."""
    return {
        "total_jobs": 120,
        "active_jobs": 0,
        "queue_size": 0,
        "max_concurrent_jobs": 4,
        "status_counts": {"completed": 118, "failed": 2},
        "system_status": "running",
        "processing": True,
        "average_processing_time": 0.3,
        "webhook_success_rate": None,
        "captions_per_minute": 12.0,
        "queue_by_priority": {"critical": 0, "high": 0, "normal": 0, "low": 0},
        "latency": {},
        "latency_overall": {"p50": 0.42, "p95": 0.9, "p99": 1.4},
        "dropped": {},
        "duplicates": {},
        "rejected": {},
        "preempted": 0,
        "connection": {},
        "uptime": 100.0,
        "since": moment(),
    } | fields


def state(cameras: Mapping[str, dict[str, Any] | None], **fields: Any) -> dict[str, Any]:
    """The first event: cameras with their newest results."""
    entries = [
        {
            "camera_id": camera_id,
            "location": said["location"] if said else None,
            "settings": {"enabled": True},
            "result": said,
            "status": None,
            "image": said["image"] if said else None,
            "seen_at": moment(),
        }
        for camera_id, said in cameras.items()
    ]
    model = {"name": "demo/model", "device": "cpu", "dtype": "float32", "state": "ready"}
    return {
        "info": {"version": "0", "model": model, "limits": {}, "settings": {}},
        "stats": stats(),
        "health": {"status": "healthy", "checks": {}},
        "metrics": {"cpu": 20.0, "memory": 40.0, "device": "cpu", "gpus": [], "loaded_models": []},
        "cameras": entries,
        "working": [],
    } | fields


class ScriptedService:
    """Says what it is told to.

    Attributes:
        state: The first event of each stream.
        asked: Method, path and JSON body of each request that is not the page's own.
        answers: By method and path: what is answered, a document or a `Problem`; an event is waited
            for, and then nothing is there.
        nobody_listens: Set while no event stream is open.
    """

    def __init__(self) -> None:
        self.state = state({})
        self.asked: list[tuple[str, str, Any]] = []
        self.answers: dict[str, Any] = dict(_NOTHING_YET)
        self.nobody_listens = asyncio.Event()
        self.url = ""
        self._streams: set[asyncio.Queue[str | None]] = set()

    def reset(self) -> None:
        """As it was when it was made."""
        self.state = state({})
        self.asked.clear()
        self.answers = dict(_NOTHING_YET)

    def say(self, kind: str, document: dict[str, Any]) -> None:
        """An event to all that listen."""
        for stream in self._streams:
            stream.put_nowait(f"event: {kind}\ndata: {json.dumps(document)}\n\n")

    def hang_up(self) -> None:
        """End all streams."""
        for stream in self._streams:
            stream.put_nowait(_ENDED)

    async def call(self, operation: str, _content: dict[str, Any]) -> BaseModel:
        """See `gateway.backend.Backend`; the page's route asks for health only."""
        assert operation == "health"
        return HealthAnswer(status="healthy", checks={})

    async def events(self) -> AsyncIterator[str]:
        """A stream."""
        stream: asyncio.Queue[str | None] = asyncio.Queue()
        self._streams.add(stream)
        self.nobody_listens.clear()
        try:
            yield f"retry: 300\nevent: state\ndata: {json.dumps(self.state)}\n\n"
            while (said := await stream.get()) is not _ENDED:
                yield said
        finally:
            self._streams.discard(stream)
            if not self._streams:
                self.nobody_listens.set()

    async def answer(self, request: Request) -> Response:
        """Anything else that the page asks for."""
        body = await request.body()
        path = f"/{request.path_params['path']}"
        self.asked.append((request.method, path, json.loads(body) if body else None))
        if path.endswith(".jpg") and f"GET {path}" not in self.answers:
            version = request.query_params.get("v") or path
            return Response(picture(version), media_type="image/jpeg")
        answer = self.answers.get(f"{request.method} {path}")
        if isinstance(answer, asyncio.Event):
            await answer.wait()
        if isinstance(answer, Problem):
            raise answer
        if answer is None:
            raise Problem("not_found", f"nothing is at {path}")
        return JSONResponse(answer)


@asynccontextmanager
async def scripted_service(port: int = 0, below: str = "") -> AsyncIterator[ScriptedService]:
    """One that listens while the block lasts.

    Args:
        port: 0: any that is free.
        below: What its paths begin with, e.g. `/ingress`, as behind a proxy.
    """
    service = ScriptedService()
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.state.backend = service
    app.state.options = options()
    app.include_router(page.router)
    app.add_exception_handler(Problem, answer_problem)  # type: ignore[arg-type]

    @app.get("/events")
    async def events() -> StreamingResponse:
        if isinstance(refusal := service.answers.get("GET /events"), Problem):
            raise refusal
        return StreamingResponse(service.events(), 200, _HEADERS, "text/event-stream")

    @app.middleware("http")
    async def policy(request: Request, go_on: Any) -> Any:
        answer = await go_on(request)
        answer.headers["Content-Security-Policy"] = POLICY
        answer.headers["X-Content-Type-Options"] = "nosniff"
        return answer

    app.add_api_route("/{path:path}", service.answer, methods=["GET", "POST", "PATCH", "DELETE"])
    listener = listen("127.0.0.1", port)
    service.url = f"http://127.0.0.1:{listener.getsockname()[1]}{below}/"
    whole = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    whole.mount(below, app)
    async with serving(whole, listener):
        try:
            yield service
        finally:
            service.hang_up()


def options() -> GatewayOptions:
    """Those of a gateway that nobody calls."""
    return GatewayOptions(
        host="127.0.0.1",
        port=0,
        max_image_bytes=1 << 20,
        max_in_flight=8,
        images="middle",
        timeout_s=10,
        version="0",
        model_name="demo/model",
        model_revision="local",
    )


@cache
def picture(version: str) -> bytes:
    """Some place with something in it, another for each version."""
    shape = hashlib.blake2s(version.encode()).digest()
    image = Image.new("RGB", (320, 180), _SKY[shape[0] % len(_SKY)])
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 110, 320, 180), fill=(70 + shape[1] // 4, 80, 70))
    left = 40 + shape[2] % 200
    draw.rectangle((left, 60, left + 40, 150), fill=(shape[3], shape[4], 120))
    image.save(file := io.BytesIO(), "JPEG")
    return file.getvalue()
