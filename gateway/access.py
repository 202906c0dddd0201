"""What a route is given of the gateway it belongs to."""

from typing import Annotated, cast

from fastapi import Depends, Request

from gateway.asking import Asker
from gateway.backend import Backend
from gateway.news import News
from gateway.options import GatewayOptions
from gateway.pictures import Pictures
from gateway.problems import Problem


def _backend(request: Request) -> Backend:
    return cast("Backend", request.app.state.backend)


def _options(request: Request) -> GatewayOptions:
    return cast("GatewayOptions", request.app.state.options)


def _asker(request: Request) -> Asker:
    return cast("Asker", request.app.state.asker)


def _news(request: Request) -> News:
    news: News | None = request.app.state.news
    if news is None:
        raise Problem("not_implemented", "there are no events here")
    return news


def _pictures(request: Request) -> Pictures:
    pictures: Pictures | None = request.app.state.pictures
    if pictures is None:
        raise Problem("not_implemented", "there are no pictures here")
    return pictures


TheAsker = Annotated[Asker, Depends(_asker)]
TheBackend = Annotated[Backend, Depends(_backend)]
TheOptions = Annotated[GatewayOptions, Depends(_options)]
TheNews = Annotated[News, Depends(_news)]
ThePictures = Annotated[Pictures, Depends(_pictures)]
