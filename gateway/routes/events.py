"""What happens, while it happens: server-sent events."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from gateway.access import TheNews
from gateway.event_stream import EventStream
from gateway.news import KINDS, Which
from gateway.problems import Problem

router = APIRouter(tags=["events"])


@router.get(
    "/events",
    response_class=Response,
    responses={200: {"content": {"text/event-stream": {}}, "description": "the events"}},
)
async def events(
    news: TheNews,
    job: Annotated[str | None, Query(description="only this job, until it has ended")] = None,
    batch: Annotated[str | None, Query(description="only this batch, until it is over")] = None,
    camera: Annotated[str | None, Query(description="only what is of this camera")] = None,
    types: Annotated[str | None, Query(description=f"only these: {', '.join(KINDS)}")] = None,
    state: Annotated[
        bool | None, Query(description="begin with all as it stands; without a filter it does")
    ] = None,
    last_event_id: Annotated[str | None, Header(max_length=64)] = None,
) -> EventStream:
    """What the topics say, as server-sent events; see docs/events.md."""
    kinds = None if types is None else frozenset(each.strip() for each in types.split(","))
    if kinds is not None and (unknown := kinds - set(KINDS)):
        named = ", ".join(sorted(unknown))[:100]
        raise Problem("bad_field", f"types: {named!r} is none of {', '.join(KINDS)}", param="types")
    is_filtered = any(each is not None for each in (job, batch, camera, types))
    with_state = not is_filtered if state is None else state
    if kinds is not None and "state" in kinds:
        with_state = state is not False
    elif kinds is not None and with_state:
        kinds |= {"state"}
    return EventStream(news, Which(kinds, camera, job, batch, with_state), last_event_id)
