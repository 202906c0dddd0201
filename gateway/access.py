"""What a route is given of the gateway it belongs to.

All are coroutines, though none waits: others would be called in a thread each.
"""

from typing import Annotated, cast

from fastapi import Depends, Request

from gateway.asking import Asker
from gateway.backend import Backend
from gateway.guard.callers import Callers
from gateway.news import News
from gateway.options import GatewayOptions
from gateway.pictures import Pictures
from gateway.problems import Problem


async def _backend(request: Request) -> Backend:
    return cast("Backend", request.app.state.backend)


async def _options(request: Request) -> GatewayOptions:
    return cast("GatewayOptions", request.app.state.options)


async def _asker(request: Request) -> Asker:
    return cast("Asker", request.app.state.asker)


async def _news(request: Request) -> News:
    news: News | None = request.app.state.news
    if news is None:
        raise Problem("not_implemented", "there are no events here")
    return news


async def _callers(request: Request) -> Callers:
    return cast("Callers", request.app.state.callers)


async def _pictures(request: Request) -> Pictures:
    pictures: Pictures | None = request.app.state.pictures
    if pictures is None:
        raise Problem("not_implemented", "there are no pictures here")
    return pictures


TheAsker = Annotated[Asker, Depends(_asker)]
TheBackend = Annotated[Backend, Depends(_backend)]
TheOptions = Annotated[GatewayOptions, Depends(_options)]
TheNews = Annotated[News, Depends(_news)]
TheCallers = Annotated[Callers, Depends(_callers)]
ThePictures = Annotated[Pictures, Depends(_pictures)]
