"""How the service is: health for people, two short answers for orchestrators, and what it is."""

from typing import cast

from fastapi import APIRouter, Request, Response

from gateway.access import TheBackend
from gateway.backend import Backend
from gateway.calls import add_call, add_route, say
from schemas.requests.bridge import HEALTH, INFO, HealthAnswer
from schemas.status import Health

#: Checks by the names under which other systems' clients look for them.
_ALSO = {"database": "store", "queue": "engine"}

router = APIRouter(tags=["state"])


async def health_of(backend: Backend) -> tuple[Health, int]:
    """Every part and the worst of them, and what that is as a status of HTTP."""
    answer = cast("HealthAnswer", await backend.call(HEALTH.name, {}))
    also = {name: answer.checks[part] for name, part in _ALSO.items() if part in answer.checks}
    said = Health(status=answer.status, checks={**answer.checks, **also})
    return said, 503 if answer.status == "unhealthy" else 200


async def health(request: Request, backend: TheBackend) -> Response:
    """Every part, and the worst of them; 503 when the service cannot do its job.

    Who has no token sees the worst alone.
    """
    said, status = await health_of(backend)
    return say(said if request.state.is_known else Health(status=said.status, checks={}), status)


add_route(router, "GET", "/health", HEALTH, health)
add_call(router, "GET", "/info", INFO)


@router.get("/livez")
async def live() -> dict[str, str]:
    """200 while the process answers."""
    return {"status": "ok"}


@router.get("/readyz")
async def ready(backend: TheBackend, response: Response) -> dict[str, str]:
    """200 while frames over HTTP are taken and captioned, whether MQTT's broker is there or not."""
    answer, response.status_code = await health_of(backend)
    unhealthy = {name for name, check in answer.checks.items() if check.status == "unhealthy"}
    if unhealthy == {"broker"}:
        response.status_code = 200
        return {"status": "degraded"}
    return {"status": answer.status}
