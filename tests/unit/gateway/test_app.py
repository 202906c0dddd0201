"""The application keeps to itself what it is asked."""

from typing import Any

import pytest

from tests.unit.gateway.apps import application, caller

trace: Any = pytest.importorskip(
    "opentelemetry.trace", reason="FastAPI of this release knows no OpenTelemetry"
)


async def test_requests_are_told_to_no_tracer(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    class Provider(trace.TracerProvider):  # type: ignore[misc]
        """As somebody sets it up for the whole process."""

        def get_tracer(self, name: str, *_args: Any, **_named: Any) -> Any:
            told.append(name)
            return trace.NoOpTracer()

    monkeypatch.setattr(trace, "get_tracer_provider", Provider)
    async with caller(application(), "127.0.0.1") as client:
        assert (await client.get("/who")).status_code == 200
        assert (await client.get("/nothing")).status_code == 404
    assert told == []
