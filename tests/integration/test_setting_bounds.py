"""The service runs at every number's least and greatest value.

One setting of each section at a time: those of different sections have little to do with each
other, and a service that fails is named with all that it was given.

Everything is real but the model: broker, store, and an engine process that speaks the protocol and
answers at once. A frame and its copy go through, so that what is computed with a setting is
computed.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest

from broker.embedded import EmbeddedBroker
from service.app import Parts, serve
from service.engines.process import EngineProcess
from service.settings import Settings
from service.store.store import Store
from tests.support.conversation import PATIENCE_S, Conversation, json_frame
from tests.support.factories import make_image
from tests.support.setting_bounds import CAMERA, Numeric, content_of, numerics

pytestmark = pytest.mark.timeout(180)

_FINAL = {"completed", "rejected", "dropped", "expired", "duplicate", "failed"}
#: At its ends no broker is found; the service must live on all the same.
_UNREACHABLE = "mqtt.port"
_AT_ONCE = 6
#: Where the frame is refused, dropped or late at one end.
_ALONE = {_UNREACHABLE, "queue.max_age"}
_SECTIONS_ALONE = {"frames", "cameras"}


def parts() -> Parts:
    """The real ones, a quick engine, and stores that open one after the other.

    A process has one service, and Alembic keeps what it migrates in globals.
    """
    opening = asyncio.Lock()

    @asynccontextmanager
    async def open_store(*arguments: Any, **options: Any) -> AsyncIterator[Store]:
        async with AsyncExitStack() as stack:
            async with opening:
                store = await stack.enter_async_context(Store.open(*arguments, **options))
            yield store

    command = (sys.executable, "-m", "tests.support.quick_engine")
    return Parts(open_store=open_store, engine=partial(EngineProcess, command=command))


def rounds() -> dict[str, list[Numeric]]:
    """Settings that are tried together, one of each section, by a name for the test.

    Those that refuse or end the frame alone, or what the others are for would not be computed.
    """
    together: dict[str, list[Numeric]] = {}
    alone: dict[str, list[Numeric]] = {}
    for number in numerics():
        section = number.path.partition(".")[0]
        is_alone = number.path in _ALONE or section in _SECTIONS_ALONE
        (alone if is_alone else together).setdefault(
            number.path if is_alone else section, []
        ).append(number)
    turns = zip_longest(*together.values())
    shared = {f"round-{turn}": [each for each in some if each] for turn, some in enumerate(turns)}
    return {**shared, **alone}


def merged(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in change.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        result[key] = merged(base[key], value) if both else value
    return result


def test_rounds_have_every_setting_once() -> None:
    tried = [number.path for some in rounds().values() for number in some]
    assert sorted(tried) == sorted(number.path for number in numerics())


async def test_service_runs_at_the_ends_of_every_range(
    mosquitto: EmbeddedBroker, topic_base: str, tmp_path: Path
) -> None:
    turns, shared = asyncio.Semaphore(_AT_ONCE), parts()

    async def run(name: str, values: dict[str, float]) -> str | None:
        content: dict[str, Any] = {
            "mqtt": {"port": mosquitto.port, "base_topic": f"{topic_base}/{name}"},
            "data_dir": str(tmp_path / name),
        }
        for path, value in values.items():
            content = merged(content, content_of(path, value))
        async with turns:
            try:
                is_reachable = _UNREACHABLE not in values
                await serve_frames(Settings(**content), shared, is_reachable=is_reachable)
            except Exception as error:  # noqa: BLE001 - named with its settings, below
                return f"{values}: {error!r}"
        return None

    ends = [
        run(f"{number}{end}", {each.path: getattr(each, end) for each in some})
        for number, some in enumerate(rounds().values())
        for end in ("least", "greatest")
    ]
    assert [problem for problem in await asyncio.gather(*ends) if problem] == []


async def serve_frames(settings: Settings, parts: Parts, *, is_reachable: bool) -> None:
    stop, ready = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve(settings, stop=stop, on_ready=ready.set, parts=parts))
        await ready.wait()
        if is_reachable:
            await send_a_frame_and_its_copy(settings.mqtt.port, settings.mqtt.base_topic)
        else:
            await asyncio.sleep(0.5)
        stop.set()


async def send_a_frame_and_its_copy(port: int, base: str) -> None:
    async with Conversation(port, base) as talk, asyncio.timeout(PATIENCE_S):
        for job_id in ("first", "copy"):
            while not _FINAL & set(talk.statuses(CAMERA, job_id)):
                # Again, because nobody says when the service hears; an id counts once.
                await talk.send(CAMERA, json_frame(make_image(1), job_id=job_id))
                await asyncio.sleep(0.2)
