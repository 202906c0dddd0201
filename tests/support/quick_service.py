"""The whole service in the test's own process, with an engine that has no model, or none at all."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from broker.connection import Connection
from broker.options import Subscription
from service.app import Parts, serve
from service.engines.process import EngineProcess
from service.settings import Settings

_CHILD = Path(__file__).parent / "scripted_child.py"
#: For `serve`: the model cannot be loaded, without the second that it takes to import torch first.
WITHOUT_MODEL = Parts(
    engine=partial(EngineProcess, command=(sys.executable, str(_CHILD), "load_fails"))
)
_READY_S = 60.0  # generous: a loaded machine is no failure


@asynccontextmanager
async def serving(
    settings: Settings,
    scratch: Path | None,
    *,
    pace_ms: float = 1.0,
    note_subscriptions: Callable[[Iterable[Subscription]], None] | None = None,
) -> AsyncIterator[asyncio.Task[None]]:
    """Run the service; the task is its life, and done once the context is left.

    Args:
        scratch: A folder for the engine; None: the real engine runs.
        pace_ms: What a frame takes it.
        note_subscriptions: Is told what each connection subscribes to.
    """
    stop, ready = asyncio.Event(), asyncio.Event()
    options = ("--scratch", str(scratch), "--pace-ms", str(pace_ms))
    command = (sys.executable, "-m", "tests.support.quick_engine", *options)
    engine = EngineProcess if scratch is None else partial(EngineProcess, command=command)
    made: list[Connection] = []

    def connect(*args: Any, **kwargs: Any) -> Connection:
        made.append(Connection(*args, **kwargs))
        if note_subscriptions is not None:
            note_subscriptions(args[1] if len(args) > 1 else ())
        return made[-1]

    parts = Parts(engine=engine, connection=connect)
    task = asyncio.create_task(serve(settings, stop=stop, on_ready=ready.set, parts=parts))
    try:
        async with asyncio.timeout(_READY_S):
            await ready.wait()
            for each in made:  # what is sent before the subscriptions are made reaches nobody
                await each.wait_connected()
        yield task
    finally:
        stop.set()
        await asyncio.wait([task])
