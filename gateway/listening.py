"""Whether a caller still listens while something is waited for in its name."""

import asyncio
from typing import Any, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

_T = TypeVar("_T")


async def or_hang_up(request: Request, waiting: "asyncio.Future[_T]") -> _T:
    """What is waited for; cancelled when the caller hangs up.

    Args:
        request: Its body has been read.
        waiting: For what.

    Raises:
        ClientDisconnect: Nobody hears the answer any more.
    """
    listening = asyncio.ensure_future(_hung_up(request))
    both: list[asyncio.Future[Any]] = [waiting, listening]
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            raise ClientDisconnect
        return waiting.result()
    finally:
        listening.cancel()
        waiting.cancel()


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        continue
