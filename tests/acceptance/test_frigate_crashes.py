"""The service is killed with SIGKILL at every step of a description's way into Frigate."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from broker.embedded import EmbeddedBroker
from tests.support.checker import until
from tests.support.factories import make_image
from tests.support.frigate_messages import as_json, event_message, stored_event
from tests.support.harness import Service
from tests.support.http_receivers import Request, answers
from tests.support.quick_engine import digest
from tests.support.scripted_frigate import EVENT, ScriptedFrigate

_PATH = f"/api/events/{EVENT}"
_ASKED: dict[str, Any] = {
    "question": "Who brings it?",
    "choices": ["DHL", "UPS"],
    "min_confidence": 0.0,
}


@dataclass(frozen=True, slots=True)
class Step:
    """A request, and whether Frigate does what it says before the service dies."""

    method: str
    below: str
    is_done: bool
    num_writes: int = 0  #: so many writes must have been before

    def is_this(self, request: Request, frigate: ScriptedFrigate) -> bool:
        return (
            request.method == self.method
            and request.target == _PATH + self.below
            and len(frigate.writes) >= self.num_writes
        )


@pytest.fixture
async def frigate() -> AsyncIterator[ScriptedFrigate]:
    frigate = ScriptedFrigate()
    frigate.events[EVENT] = stored_event(EVENT)
    frigate.pictures[EVENT, "snapshot-clean.webp"] = make_image(1, (64, 48))
    async with frigate.receiver:
        yield frigate


@pytest.mark.parametrize(
    "step",
    [
        Step("GET", "", is_done=False),
        Step("POST", "/sub_label", is_done=True),
        Step("POST", "/description", is_done=False),
        Step("POST", "/description", is_done=True),
        Step("GET", "", is_done=False, num_writes=2),
    ],
    ids=["read", "sub label", "before the write", "after the write", "read again"],
)
async def test_kill_at_a_step_of_the_write_back_loses_nothing(
    mosquitto: EmbeddedBroker,
    topic_base: str,
    tmp_path: Path,
    frigate: ScriptedFrigate,
    step: Step,
) -> None:
    prefix = f"{topic_base}-nvr"
    settings = {"enabled": True, "url": frigate.url, "topic_prefix": prefix, "sub_label": _ASKED}
    service = Service(
        tmp_path / "service", mosquitto.port, topic_base, settings={"frigate": settings}
    )
    deaths: list[Step] = []

    async def die(request: Request, writer: asyncio.StreamWriter) -> None:
        is_now = not deaths and step.is_this(request, frigate)
        answer = frigate.answer(request) if step.is_done or not is_now else answers(500)
        if is_now:
            await service.kill()
            deaths.append(step)
        await answer(request, writer)

    frigate.instead[_PATH] = die
    async with service, aiomqtt.Client(mosquitto.host, mosquitto.port) as client:
        await service.start()
        await client.publish(f"{prefix}/events", as_json(event_message("end", EVENT)))
        await until(lambda: bool(deaths))
        await service.start()
        await until(lambda: is_whole(frigate))
    assert [key for _, key, _ in frigate.writes].count("description") == 1
    assert frigate.events[EVENT]["data"]["description"] == digest(make_image(1, (64, 48)))


def is_whole(frigate: ScriptedFrigate) -> bool:
    event = frigate.events[EVENT]
    return event["sub_label"] in _ASKED["choices"] and "description" in event["data"]
