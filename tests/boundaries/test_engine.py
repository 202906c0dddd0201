"""What a child sends, and what breaks around it, ends one child; the next one is started."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.protocol import Done, ModelOptions, Ready, Submit, TaskSpec, decode
from service.backoff import Backoff
from service.engines.process import EngineEvent, EngineProcess, Lost
from service.errors import EngineError
from tests.boundaries.bench import SECRET, check_log

CHILD = Path(__file__).parents[1] / "support" / "scripted_child.py"
OPTIONS = ModelOptions("tiny", "local", "cpu", "auto")

ODD_HEADERS = [
    "{}",
    "5",
    "null",
    "[]",
    '["Ready"]',
    '["Nobody",{}]',
    '[["Ready"],{}]',
    '["Ready",{"capacity":3}]',
    '["Ready",{"model":"m","revision":"r","device":"d","dtype":"f","capacity":"many",'
    '"load_seconds":0,"vram_mb":0,"ram_mb":0}]',
    '["Capacity",{"capacity":null,"message":"none"}]',
    '["Loading",{"message":7}]',
    '["Done",{"key":"a","answers":{"b":1},"engine_seconds":"soon"}]',
    '["Failed",{"key":["a"],"code":"c","message":"m","can_retry":1}]',
    "[" * 50_000,
]


def make_engine(
    mode: str = "works", *, command: Sequence[str] = (), options: ModelOptions = OPTIONS
) -> EngineProcess:
    return EngineProcess(
        options,
        load_timeout=10.0,
        step_timeout=5.0,
        backoff=Backoff(first=0.05, longest=0.1),
        command=command or (sys.executable, str(CHILD), mode),
    )


async def next_event(engine: EngineProcess, *kinds: type[Any]) -> Any:
    async with asyncio.timeout(20):
        while True:
            event: EngineEvent = await engine.events.get()
            if isinstance(event, kinds):
                return event


def make_submit(key: str, tasks: tuple[TaskSpec, ...] = ()) -> Submit:
    return Submit(key, "front", (0.0,), tasks, body=b"abc")


@pytest.mark.parametrize("header", ODD_HEADERS, ids=lambda header: header[:20])
def test_header_that_is_no_message_is_refused(header: str) -> None:
    with pytest.raises(ValueError):
        decode(header.encode(), b"")


@pytest.mark.parametrize("header", ODD_HEADERS, ids=lambda header: header[:20])
async def test_child_that_sends_it_is_lost_and_another_is_started(header: str) -> None:
    async with make_engine(f"odd:{header}") as engine:
        for _ in range(2):
            lost = await next_event(engine, Lost)
            assert "sent garbage" in lost.message
            assert len(lost.message) < 200


@pytest.mark.parametrize(
    ("command", "options"),
    [
        (["no\0program"], OPTIONS),  # no system could hold such a name
        ([], replace(OPTIONS, slots={8})),  # type: ignore[arg-type]  # cannot be handed over
    ],
)
async def test_supervision_that_breaks_starts_another_child(
    command: list[str], options: ModelOptions, caplog: pytest.LogCaptureFixture
) -> None:
    async with make_engine(command=command, options=options) as engine:
        for _ in range(2):
            lost = await next_event(engine, Lost)
            assert lost.message == "the engine could not be supervised"
        assert engine.state.state == "failed"
        with pytest.raises(EngineError):
            await engine.load()
    check_log(caplog)


class BrokenTasks(tuple[TaskSpec, ...]):
    """Cannot be written."""

    def __iter__(self) -> Any:
        raise RuntimeError(SECRET)


async def test_order_that_cannot_be_written_takes_no_slot() -> None:
    async with make_engine() as engine:
        await next_event(engine, Ready)
        for number in range(3):  # more than there are
            with pytest.raises(RuntimeError):
                await engine.submit(
                    make_submit(f"odd-{number}", BrokenTasks((TaskSpec("a", "b"),)))
                )
        assert not engine.held
        await engine.submit(make_submit("even-1"))
        assert (await next_event(engine, Done)).key == "even-1"
