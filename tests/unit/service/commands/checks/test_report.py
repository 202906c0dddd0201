"""The report goes on whatever a check does."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import pytest

from service.commands.checks.finding import Finding, Level
from service.commands.checks.report import Check, Report, in_thread
from service.errors import ConfigurationError


async def lines_of(
    capsys: pytest.CaptureFixture[str],
    *looks: Callable[[], Awaitable[Sequence[Finding]]],
    limit_s: float = 30.0,
) -> tuple[list[str], bool]:
    report = Report()
    await report.run([Check(f"part{i}", limit_s, look) for i, look in enumerate(looks)])
    out, err = capsys.readouterr()
    assert err == ""
    return out.splitlines(), report.is_ok


def finds(*levels: Level, text: str = "") -> Callable[[], Awaitable[list[Finding]]]:
    async def look() -> list[Finding]:
        return [Finding("a", level, text or f"is {level}") for level in levels]

    return look


async def breaks() -> list[Finding]:
    raise ZeroDivisionError("a secret")


async def refuses() -> list[Finding]:
    raise ConfigurationError("mqtt.tls: is wrong")


async def hangs() -> list[Finding]:
    await asyncio.Event().wait()
    return []


async def test_one_line_for_each_finding(capsys: pytest.CaptureFixture[str]) -> None:
    lines, is_ok = await lines_of(capsys, finds("ok", "note", "TODO"))
    assert lines == ["ok   a: is ok", "note a: is note", "TODO a: is TODO"]
    assert not is_ok


async def test_notes_are_no_reason_to_fail(capsys: pytest.CaptureFixture[str]) -> None:
    assert (await lines_of(capsys, finds("ok", "note")))[1]


async def test_check_that_breaks_is_a_finding_and_the_next_goes_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines, is_ok = await lines_of(capsys, breaks, refuses, finds("ok"))
    assert lines == [
        "TODO part0: the check itself failed (ZeroDivisionError): please report it as a bug",
        "TODO part1: mqtt.tls: is wrong",
        "ok   a: is ok",
    ]
    assert not is_ok


async def test_check_that_hangs_is_a_finding(capsys: pytest.CaptureFixture[str]) -> None:
    lines, _ = await lines_of(capsys, hangs, finds("ok"), limit_s=0.05)
    assert lines[0] == "TODO part0: not known after 0.05 s: what it needs is very slow, or hangs"
    assert lines[1] == "ok   a: is ok"


async def test_thread_that_hangs_is_not_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    def sleep() -> list[Finding]:
        time.sleep(2.0)
        return []

    async def look() -> Sequence[Finding]:
        return await in_thread(sleep)

    began = time.monotonic()
    await lines_of(capsys, look, limit_s=0.05)
    assert time.monotonic() - began < 1.5


async def test_what_blocks_may_fail_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> list[Finding]:
        raise ConfigurationError("data_dir x: Read-only file system")

    async def look() -> Sequence[Finding]:
        return await in_thread(work)

    lines, _ = await lines_of(capsys, look)
    assert lines == ["TODO part0: data_dir x: Read-only file system"]


async def test_the_same_problem_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    lines, _ = await lines_of(capsys, refuses, refuses, finds("ok", "ok", text="same"))
    assert lines == ["TODO part0: mqtt.tls: is wrong", "ok   a: same", "ok   a: same"]


async def test_what_a_host_says_cannot_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    lines, _ = await lines_of(capsys, finds("TODO", text="a\x1b[2J\nb"))
    assert lines == ["TODO a: a [2J b"]
