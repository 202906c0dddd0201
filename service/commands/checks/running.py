"""Whether the service runs and can do its job, from what is retained: for health checks."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from broker.topics import BridgeName, Topics
from schemas.status import BridgeInfo, Health, SystemStatus
from service.commands.checks.finding import Finding, Level
from service.commands.client import connect
from service.errors import ServiceError
from service.settings import Settings

_RETAINED_S = 0.7  # what is retained comes at once, or there is none
_T = TypeVar("_T", bound=BaseModel)
_NAMES: tuple[BridgeName, ...] = ("state", "info", "health", "stats")


class _Stats(BaseModel):
    """Of `bridge/stats`, all that is asked for here."""

    system_status: SystemStatus


async def check_running(settings: Settings) -> list[Finding]:
    """What the service says of itself; within two seconds where the broker answers."""
    try:
        said = await _retained(settings)
    except ServiceError as error:
        return [Finding("service", "TODO", str(error))]
    state = said.get("state", b"").decode(errors="replace")
    if state != "online":
        return [Finding("service", "TODO", _why_not(settings, state, said))]
    return [Finding("service", "ok", "online"), *_model(said), *_health(said)]


async def _retained(settings: Settings) -> dict[str, bytes]:
    topics = Topics(settings.mqtt.base_topic)
    names = {topics.bridge(name): name for name in _NAMES}
    said: dict[str, bytes] = {}
    async with connect(settings.mqtt) as client:
        await client.subscribe([(topic, 0) for topic in names])
        with suppress(TimeoutError):
            async with asyncio.timeout(_RETAINED_S):
                async for message in client.messages:
                    said[names[message.topic.value]] = bytes(message.payload)
                    if said.keys() == set(_NAMES):
                        break
    return said


def _why_not(settings: Settings, state: str, said: dict[str, bytes]) -> str:
    if not state:
        where = f"below mqtt.base_topic {settings.mqtt.base_topic}"
        return f"has never run {where} on this broker: start it, or see mqtt.base_topic"
    stats = _read(_Stats, said.get("stats"))
    if isinstance(stats, _Stats) and stats.system_status == "stopping":
        return f"{state}: it was stopped; start it with `moondream2mqtt serve`"
    return f"{state}: it ended without a word, or lost the broker; its log says why"


def _model(said: dict[str, bytes]) -> Iterator[Finding]:
    info = _read(BridgeInfo, said.get("info"))
    if info is None:
        return
    if isinstance(info, str):
        yield Finding("model", "TODO", info)
        return
    model = info.model
    text = ": ".join(filter(None, (model.state, model.message)))
    # With another engine that works, `bridge/health` is degraded, and says why.
    if model.state == "failed" and not info.limits.get("max_concurrent_jobs"):
        yield Finding("model", "TODO", text)
        return
    yield Finding("model", "note" if model.state == "failed" else "ok", text)


def _health(said: dict[str, bytes]) -> Iterator[Finding]:
    """What `bridge/health` says; a part that limps is named and is no reason to fail."""
    health = _read(Health, said.get("health"))
    if health is None:
        return
    if isinstance(health, str):
        yield Finding("health", "TODO", health)
        return
    ill = [
        f"{name} {check.status}: {check.message}"
        for name, check in health.checks.items()
        if check.status != "healthy"
    ]
    level: Level = "TODO" if health.status == "unhealthy" else "note" if ill else "ok"
    yield Finding("health", level, "; ".join(ill) or health.status)


def _read(form: type[_T], payload: bytes | None) -> _T | str | None:
    """A document; None where there is none, and a text where it is none."""
    if not payload:
        return None
    try:
        return form.model_validate_json(payload)
    except ValidationError:
        return f"{form.__name__} cannot be read: was it said by a service of another version?"
