"""How the service is: health for people, two short answers for orchestrators."""

from typing import cast

from fastapi import APIRouter, Request, Response

from gateway.access import TheBackend
from schemas.requests.bridge import HealthAnswer
from schemas.status import Health

router = APIRouter(tags=["state"])


@router.get("/health")
async def health(request: Request, backend: TheBackend, response: Response) -> Health:
    """Every part, and the worst of them; 503 when the service cannot do its job.

    Who has no token sees the worst alone.
    """
    answer = cast("HealthAnswer", await backend.call("health", {}))
    response.status_code = 503 if answer.status == "unhealthy" else 200
    return answer if request.state.is_known else Health(status=answer.status, checks={})


@router.get("/livez")
async def live() -> dict[str, str]:
    """200 while the process answers."""
    return {"status": "ok"}


@router.get("/readyz")
async def ready(backend: TheBackend, response: Response) -> dict[str, str]:
    """200 while frames are taken and captioned; 503 else."""
    answer = cast("HealthAnswer", await backend.call("health", {}))
    response.status_code = 503 if answer.status == "unhealthy" else 200
    return {"status": answer.status}
