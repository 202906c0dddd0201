"""Blocks that are run one after the other, and what is kept of them.

A run on a borrowed GPU must bring something home whatever happens: every figure is printed and
every block written to the file as soon as it is there, a block that fails or takes too long is a
line with its reason, and one that hangs in the driver ends the process with what is known by then.
"""

import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Literal

Value = float | int | str | bool
#: Takes a figure by its name, which tells the unit; the last argument puts it into the table.
Note = Callable[..., None]
#: Seconds after the end of its time in which a block can still be interrupted.
_GRACE_S = 15.0
_EXIT_HANGS = 7


class SkippedError(Exception):
    """A block has nothing to measure here; the message says why."""


class OvertimeError(Exception):
    """A block took longer than it may."""


@dataclass(frozen=True)
class Block:
    """One part of the report."""

    name: str
    run: Callable[[Any, Note], None]
    #: Seconds it may take.
    limit_s: float


@dataclass
class Outcome:
    """What came of a block."""

    status: Literal["done", "skipped", "failed"] = "done"
    reason: str = ""
    seconds: float = 0.0
    figures: dict[str, Value] = field(default_factory=dict)
    #: Names of those figures that the table shows.
    shown: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Verdict:
    """Whether a goal was reached, by what was measured."""

    goal: str
    measured: Value | None
    verdict: Literal["met", "missed", "not measured"]


class Report:
    """Runs blocks and keeps their figures.

    Args:
        head: What the report is about, at the top of the file.
        out: JSON file, written anew after each block; None: none.
        limit_s: Seconds for all blocks together.
    """

    def __init__(self, head: dict[str, Value], out: Path | None, limit_s: float) -> None:
        self._head, self._out = head, out
        self._ends_at = time.monotonic() + limit_s
        self.outcomes: dict[str, Outcome] = {}

    def run(self, block: Block, setting: object) -> None:
        """Run a block in the time that is left, whatever happens in it."""
        outcome = self.outcomes[block.name] = Outcome()
        say(f"\n== {block.name}")
        limit_s = min(block.limit_s, self._ends_at - time.monotonic())
        if limit_s <= 1:
            outcome.status, outcome.reason = "skipped", "no time was left"
            return
        begin = time.monotonic()
        try:
            with _within(limit_s, lambda: self._hangs(outcome)):
                block.run(setting, _note_into(outcome))
        except SkippedError as error:
            outcome.status, outcome.reason = "skipped", str(error)
        except Exception as error:  # noqa: BLE001 - the other blocks are worth the run all the same
            outcome.status, outcome.reason = "failed", _one_line(error)
            traceback.print_exc(file=sys.stdout)
        outcome.seconds = time.monotonic() - begin
        say(f"   {outcome.status} in {outcome.seconds:.1f} s {outcome.reason}")
        self.write()

    def write(self, verdicts: Sequence[Verdict] = ()) -> None:
        """Write the file with everything so far."""
        if self._out is None:
            return
        content = {
            **self._head,
            "blocks": {name: asdict(outcome) for name, outcome in self.outcomes.items()},
            "goals": [asdict(verdict) for verdict in verdicts],
        }
        beside = self._out.with_name(f"{self._out.name}.part")
        beside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        beside.replace(self._out)

    def show(self, verdicts: Sequence[Verdict]) -> None:
        """Print the table: every block, the figures that matter, a verdict for each goal."""
        say("\n== Table")
        for name, outcome in self.outcomes.items():
            say(f"{name:<12} {outcome.status:<8} {outcome.seconds:6.1f} s  {outcome.reason[:100]}")
            for figure in outcome.shown:
                say(f"    {figure:<52} {_text(outcome.figures[figure])}")
        say("\n== Goals")
        for each in verdicts:
            measured = "–" if each.measured is None else _text(each.measured)
            say(f"{each.verdict:<13} {each.goal:<58} {measured}")

    def _hangs(self, outcome: Outcome) -> None:
        """Called from another thread when a block does not even hear that its time is over."""
        outcome.status, outcome.reason = "failed", "hangs: the report ends here"
        self.write()
        self.show(())
        os._exit(_EXIT_HANGS)


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


def _note_into(outcome: Outcome) -> Note:
    def note(name: str, value: Value, *, is_shown: bool = False) -> None:
        outcome.figures[name] = value
        if is_shown:
            outcome.shown.append(name)
        say(f"   {name}: {_text(value)}")

    return note


def _text(value: Value) -> str:
    if isinstance(value, float):
        return f"{value:,.3f}" if abs(value) < 100 else f"{value:,.0f}"
    return str(value)


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


@contextmanager
def _within(seconds: float, hangs: Callable[[], None]) -> Iterator[None]:
    """Raise `OvertimeError` in the block after so many seconds; `hangs` if it does not hear it."""

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise OvertimeError(f"more than {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, ring)
    guard = threading.Timer(seconds + _GRACE_S, hangs)
    guard.daemon = True
    guard.start()
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        guard.cancel()
        signal.signal(signal.SIGALRM, before)
