"""Reads server-sent events as a browser does."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event."""

    kind: str
    id: str
    data: Any


class EventReader:
    """The events of one response."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._events = _read(response)

    async def next(self) -> ServerEvent:
        return await anext(self._events)

    async def until(self, is_wanted: Callable[[ServerEvent], bool]) -> ServerEvent:
        """The first that is wanted; those before it are passed over."""
        async for event in self._events:
            if is_wanted(event):
                return event
        raise EOFError("the stream has ended")

    async def rest(self) -> list[ServerEvent]:
        """All until the server ends the stream."""
        return [event async for event in self._events]


@asynccontextmanager
async def listening(
    client: httpx.AsyncClient, path: str = "/events", **headers: str
) -> AsyncIterator[EventReader]:
    async with client.stream("GET", path, headers=headers, timeout=30) as response:
        yield EventReader(response)


async def _read(response: httpx.Response) -> AsyncIterator[ServerEvent]:
    fields: dict[str, str] = {}
    async for line in response.aiter_lines():
        name, _, value = line.partition(": ")
        if line:
            fields[name] = value
        elif "event" in fields:
            yield ServerEvent(fields["event"], fields["id"], json.loads(fields["data"]))
            fields = {}
