from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, cast

import httpx
import pytest
import pytest_asyncio
from pydantic import BaseModel

from gateway.app import make_app
from gateway.backend import Backend, Frame
from schemas.job import ErrorDetail, JobStatus
from schemas.requests.bridge import HealthAnswer
from schemas.status import HealthCheck, StatusDocument
from tests.unit.gateway.apps import options

_OPTIONS = options(
    max_image_bytes=1 << 20,
    timeout_s=60.0,
    version="1",
    model_name="vikhyatk/moondream2",
    model_revision="2025-06-21",
)
_FRAME = {"camera_id": "front", "frame_data": "x"}


class _Service:
    """Says of each frame what it is told to say."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.status, self.error = JobStatus.QUEUED, ""
        self.health = "healthy"
        self.broker = HealthCheck(status="healthy", message="works")

    async def submit(self, frame: Frame) -> StatusDocument:
        self.frames.append(frame)
        error = ErrorDetail(code=self.error, message="why") if self.error else None
        return StatusDocument(
            job_id="a",
            camera_id="front",
            status=self.status,
            message="why",
            error=error,
            timestamp=datetime.now(UTC),
        )

    def wait_s(self, _priority: str | None = None) -> float | None:
        return 7.6

    async def call(self, operation: str, _content: dict[str, Any]) -> BaseModel:
        assert operation == "health"
        check = HealthCheck(status="healthy", message="works")
        checks = {"store": check, "engine": check, "broker": self.broker}
        return HealthAnswer(status=self.health, checks=checks)


@pytest.fixture
def service() -> _Service:
    return _Service()


@pytest_asyncio.fixture
async def client(service: _Service) -> AsyncIterator[httpx.AsyncClient]:
    app = make_app(cast("Backend", service), _OPTIONS)
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as found:
        yield found


@pytest.mark.parametrize(
    ("status", "code", "expected", "retry_after"),
    [
        (JobStatus.QUEUED, "", 202, None),
        (JobStatus.PROCESSING, "", 202, None),
        (JobStatus.COMPLETED, "", 200, None),
        (JobStatus.DUPLICATE, "content", 200, None),
        (JobStatus.DROPPED, "cooldown", 200, None),
        (JobStatus.DROPPED, "queue_full", 429, "8"),
        (JobStatus.DROPPED, "disk_full", 507, None),
        (JobStatus.FAILED, "model_error", 200, None),
    ],
)
async def test_status_of_the_frame_is_the_status_of_the_answer(
    service: _Service,
    client: httpx.AsyncClient,
    status: JobStatus,
    code: str,
    expected: int,
    retry_after: str | None,
) -> None:
    service.status, service.error = status, code
    answer = await client.post("/motion/detect", json=_FRAME)
    assert answer.status_code == expected
    assert answer.headers.get("Retry-After") == retry_after


async def test_what_stands_nearest_to_the_picture_counts(
    service: _Service, client: httpx.AsyncClient
) -> None:
    send = {
        "headers": {"X-Location": "header", "X-Prompt": "header", "X-Priority": "low"},
        "params": {"location": "query", "prompt": "query"},
    }
    await client.post("/motion/detect", json={**_FRAME, "location": "body"}, **send)  # type: ignore[arg-type]
    [frame] = service.frames
    assert frame.fields == {**_FRAME, "location": "body", "prompt": "query", "priority": "low"}
    assert frame.origin == "POST /motion/detect"


async def test_pictures_over_http_need_no_broker(
    service: _Service, client: httpx.AsyncClient
) -> None:
    service.health = "unhealthy"
    service.broker = HealthCheck(status="unhealthy", message="Connection refused")
    ready, health = await client.get("/readyz"), await client.get("/health")
    assert (ready.status_code, ready.json()) == (200, {"status": "degraded"})
    assert (health.status_code, health.json()["status"]) == (503, "unhealthy")


@pytest.mark.parametrize(("health", "status"), [("degraded", 200), ("unhealthy", 503)])
async def test_health_has_its_status(
    service: _Service, client: httpx.AsyncClient, health: str, status: int
) -> None:
    service.health = health
    for path in ("/health", "/readyz", "/api/ai/health", "/api/queue/health"):
        answer = await client.get(path)
        assert (answer.status_code, answer.json()["status"]) == (status, health)
