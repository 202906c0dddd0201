"""Applications and callers for tests of the guard."""

from typing import Any

import httpx
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel

from gateway.app import make_app
from gateway.options import GatewayOptions
from schemas.requests.bridge import HealthAnswer
from schemas.status import HealthCheck
from tests.support.no_backend import NoBackend

TOKEN = "correct-horse-battery-staple"  # noqa: S105 - of the tests
OUTSIDE = "192.168.7.9"


class Backend(NoBackend):
    """Is healthy, and takes nothing."""

    async def call(self, operation: str, content: dict[str, Any]) -> BaseModel:
        assert operation == "health"
        checks = {"broker": HealthCheck(status="healthy", message="ok")}
        return HealthAnswer(status="healthy", checks=checks)


def options(**changed: Any) -> GatewayOptions:
    said: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": 0,
        "max_image_bytes": 4 << 20,
        "max_in_flight": 32,
        "images": "middle",
        "timeout_s": 30,
        "version": "0",
        "model_name": "m",
        "model_revision": "r",
        "token": TOKEN,
        "keyless_networks": ("127.0.0.0/8", "::1/128"),
    }
    return GatewayOptions(**{**said, **changed})


def application(**changed: Any) -> FastAPI:
    """The gateway, with two routes of the tests' own."""
    app = make_app(Backend(), options(**changed))

    @app.api_route("/who", methods=["GET", "POST"])
    async def who(request: Request) -> dict[str, Any]:
        return {"caller": request.state.caller, "root_path": request.scope["root_path"]}

    @app.post("/motion/size")
    @app.post("/size")
    async def size(request: Request) -> Response:
        return Response(str(len(await request.body())))

    return app


def caller(
    app: FastAPI, address: str = OUTSIDE, *, token: str | None = None, **headers: str
) -> httpx.AsyncClient:
    """Somebody at an address; `headers` with `_` for `-`."""
    said = {name.replace("_", "-"): value for name, value in headers.items()}
    if token is not None:
        said["Authorization"] = f"Bearer {token}"
    transport = httpx.ASGITransport(app, client=(address, 40000))
    return httpx.AsyncClient(transport=transport, base_url="http://192.168.7.2:8808", headers=said)
