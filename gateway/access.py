"""What a route is given of the gateway it belongs to."""

from typing import Annotated, cast

from fastapi import Depends, Request

from gateway.asking import Asker
from gateway.backend import Backend
from gateway.options import GatewayOptions


async def _backend(request: Request) -> Backend:
    return cast("Backend", request.app.state.backend)


async def _options(request: Request) -> GatewayOptions:
    return cast("GatewayOptions", request.app.state.options)


async def _asker(request: Request) -> Asker:
    return cast("Asker", request.app.state.asker)


TheAsker = Annotated[Asker, Depends(_asker)]
TheBackend = Annotated[Backend, Depends(_backend)]
TheOptions = Annotated[GatewayOptions, Depends(_options)]
