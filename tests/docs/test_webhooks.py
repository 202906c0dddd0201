"""The receiver in `docs/webhooks.md`, run as a reader would run it."""

import asyncio
import os
import re
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx

from tests.support.factories import NOON
from tests.support.fakes import FakeClock
from tests.support.webhook_bench import SECRET, webhook_bench

PAGE = Path(__file__).parents[2] / "docs" / "webhooks.md"
OTHER_SECRET = "whsec_eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHg="  # noqa: S105 - of the tests


def program() -> str:
    [code] = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return str(code).replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - tests stay on this machine


@asynccontextmanager
async def running_receiver(secret: str) -> AsyncIterator[tuple[str, asyncio.StreamReader]]:
    """Its URL and what it prints."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program(),
        env={**os.environ, "WEBHOOK_SECRET": secret, "PORT": str(port)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        await _wait_for(port)
        yield f"http://127.0.0.1:{port}/caption", process.stdout
    finally:
        process.kill()
        await process.communicate()


async def _wait_for(port: int) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                await writer.wait_closed()
                return


async def test_receiver_accepts_what_the_service_sends(tmp_path: Path) -> None:
    clock = FakeClock(datetime.now(UTC))
    async with (
        running_receiver(SECRET) as (url, output),
        webhook_bench(tmp_path, clock=clock, timeout=10) as bench,
    ):
        await bench.post(url, 2)
        await bench.until_pending(0)
        assert bench.letters == []
        assert bench.sender.success_rate == 1.0
        assert await output.readline() == b"front failed\n"


async def test_receiver_refuses_another_secret(tmp_path: Path) -> None:
    async with (
        running_receiver(OTHER_SECRET) as (url, _),
        webhook_bench(tmp_path, clock=FakeClock(datetime.now(UTC)), timeout=10) as bench,
    ):
        await bench.post(url)
        await bench.until_pending(0)
        assert [letter.error.message.split()[-1] for letter in bench.letters] == ["401"]


async def test_receiver_refuses_an_old_message_until_the_clocks_agree(tmp_path: Path) -> None:
    clock = FakeClock(NOON)
    async with (
        running_receiver(SECRET) as (url, _),
        webhook_bench(tmp_path, clock=clock, timeout=10) as bench,
    ):
        await bench.post(url)
        await bench.until_failing()
        clock.set_now(datetime.now(UTC))
        bench.turn(2)
        await bench.until_pending(0)
        assert bench.letters == []


async def test_receiver_refuses_a_changed_body_and_no_signature() -> None:
    async with running_receiver(SECRET) as (url, _), httpx.AsyncClient(trust_env=False) as client:
        stamp = str(int(datetime.now(UTC).timestamp()))
        signed = {"webhook-id": "a", "webhook-timestamp": stamp, "webhook-signature": "v1,AAAA"}
        assert (await client.post(url, content=b"{}", headers=signed)).status_code == 401
        assert (await client.post(url, content=b"{}")).status_code == 401


def test_receiver_is_about_twenty_lines() -> None:
    assert len([line for line in program().splitlines() if line.strip()]) <= 24
