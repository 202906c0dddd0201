"""Runs checks one after another and prints what they find, a line each.

A check that breaks or takes too long is a finding of its own: whoever asks why nothing works must
not get a traceback for an answer.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from threading import Thread

from rich.console import Console
from rich.status import Status
from rich.text import Text

from service.commands.checks.finding import Finding
from service.commands.terminal import one_line
from service.errors import ServiceError

logger = logging.getLogger(__name__)

_MARKS = {"ok": ("✓", "green"), "note": ("!", "yellow"), "TODO": ("✗", "bold red")}


@dataclass(frozen=True, slots=True)
class Check:
    """One part of a set-up.

    Args:
        part: Its name in the report.
        limit_s: Seconds it may take.
        look: Finds what there is to say; what blocks goes through `in_thread`.
    """

    part: str
    limit_s: float
    look: Callable[[], Awaitable[Iterable[Finding]]]


class Report:
    """Prints findings, and remembers whether something is to be done."""

    def __init__(self) -> None:
        self.is_ok = True
        self._told: set[str] = set()
        self._out = Console(soft_wrap=True, highlight=False, markup=False)
        self._progress = Console(stderr=True)
        self._status: Status | None = None

    def add(self, finding: Finding) -> None:
        """Print a line, unless another part has said the same."""
        text = one_line(finding.text)
        self.is_ok &= finding.level != "TODO"
        if finding.level != "ok" and text in self._told:
            return
        self._told.add(text)
        mark, style = _MARKS[finding.level]
        line = Text(f"{mark} " if self._out.is_terminal else "")
        line.append(f"{finding.level:<4}", style)
        self._out.print(line.append(f" {finding.part}: {text}"))

    async def run(self, checks: Sequence[Check]) -> None:
        """Run checks in order; on a terminal, stderr shows which it is."""
        for check in checks:
            with self._busy(check.part):
                findings = await _run(check)
            for finding in findings:
                self.add(finding)

    def tell(self, message: str) -> None:
        """Say what a check is doing."""
        if self._status is not None:
            self._status.update(Text(one_line(message)))

    def _busy(self, part: str) -> "Status | nullcontext[None]":
        if not self._progress.is_terminal:
            return nullcontext()
        self._status = self._progress.status(Text(f"looking at {part}"))
        return self._status


async def _run(check: Check) -> Iterable[Finding]:
    try:
        async with asyncio.timeout(check.limit_s):
            return list(await check.look())
    except TimeoutError:
        text = f"not known after {check.limit_s:g} s: what it needs is very slow, or hangs"
    except ServiceError as error:
        text = str(error)
    except Exception as error:  # one check, not the report
        logger.exception("a check failed")
        text = f"the check itself failed ({type(error).__name__}): please report it as a bug"
    return [Finding(check.part, "TODO", text)]


async def in_thread(work: Callable[[], Sequence[Finding]]) -> Sequence[Finding]:
    """Run what may block, on a network drive for ever, in a thread that nobody waits for."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Sequence[Finding]] = loop.create_future()

    def settle(set_outcome: Callable[[], None]) -> None:
        if not done.done():
            set_outcome()

    def run() -> None:
        try:
            outcome = partial(done.set_result, work())
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            outcome = partial(done.set_exception, error)
        with suppress(RuntimeError):  # the loop has ended while this thread was held up
            loop.call_soon_threadsafe(settle, outcome)

    Thread(target=run, daemon=True).start()
    return await done
