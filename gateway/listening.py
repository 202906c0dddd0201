"""Whether a caller still listens while something is waited for in its name."""

import asyncio
from typing import Any, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

from gateway.guard.asgi import until_hung_up
from gateway.joining import stopping

_T = TypeVar("_T")


async def or_hang_up(request: Request, waiting: "asyncio.Future[_T]", closing: asyncio.Event) -> _T:
    """What is waited for; cancelled when the caller hangs up.

    Args:
        request: Its body has been read.
        waiting: For what.
        closing: Set when nobody is to wait any longer.

    Raises:
        ClientDisconnect: Nobody hears the answer any more.
        Problem: `stopping`.
    """
    listening = asyncio.ensure_future(until_hung_up(request.receive))
    ending = asyncio.ensure_future(closing.wait())
    all_of_them: list[asyncio.Future[Any]] = [waiting, listening, ending]
    try:
        await asyncio.wait(all_of_them, return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            return waiting.result()
        raise ClientDisconnect if listening.done() else stopping()
    finally:
        for each in all_of_them:
            each.cancel()
