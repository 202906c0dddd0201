"""What Prometheus scrapes."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from gateway.access import TheBackend
from gateway.metrics.families import Families

router = APIRouter(tags=["state"])


@router.get("/metrics", response_class=Response)
async def metrics(request: Request, backend: TheBackend) -> Response:
    """All metrics in Prometheus' text format, or OpenMetrics' where that is asked for."""
    registry = CollectorRegistry()
    registry.register(Families(await backend.readings(), request.app.state.request_counts))
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(registry), media_type=content_type)
