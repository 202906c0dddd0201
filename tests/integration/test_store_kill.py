"""A store whose process is killed at any moment has every job it said it had."""

import asyncio
import random
import signal
import sys
from pathlib import Path

import pytest

from service.store.store import Store

_WRITER = """
import asyncio, sys
from service.store.store import Store
from tests.support.factories import make_job

async def write(store, first, is_urgent):
    for number in range(first, first + 100_000, 8):
        jobs = [make_job(job_id=f"job-{number + i}") for i in range(8)]
        await store.accept(jobs, {job.key: job.key.encode() * 5000 for job in jobs}, [])
        await store.start([jobs[0].key], jobs[0].received_at, is_urgent=is_urgent)
        print(number, flush=True)

async def main(url, first, num_writers):
    async with Store.open(url) as store:
        writers = [write(store, first + 100_000 * n, n == 0) for n in range(num_writers)]
        await asyncio.gather(*writers)

asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
"""
NUM_KILLS = 4


@pytest.mark.timeout(180)  # each writer starts a Python of its own
@pytest.mark.parametrize("num_writers", [1, 4])  # alone, and many in one transaction
async def test_a_committed_group_survives_kill_9(tmp_path: Path, num_writers: int) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    rng = random.Random(5)
    said: list[int] = []
    for kill in range(NUM_KILLS):
        said += await _write_and_kill(url, 1_000_000 * kill, num_writers, rng.uniform(0.05, 0.4))
    assert len(said) > NUM_KILLS
    async with Store.open(url) as store:
        waiting = {job.key for job in await store.recover()}
        for number in said:
            keys = [f"front/job-{number + i}" for i in range(8)]
            assert waiting.issuperset(keys)
            assert await store.image(keys[7]) == keys[7].encode() * 5000
        assert len(waiting) % 8 == 0  # groups are whole


async def _write_and_kill(url: str, first: int, num_writers: int, after_s: float) -> list[int]:
    """The first numbers of the groups that the writer said were committed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _WRITER, url, str(first), str(num_writers)),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    said = [await process.stdout.readline()]  # it has begun
    await asyncio.sleep(after_s)
    process.send_signal(signal.SIGKILL)
    said += (await process.stdout.read()).splitlines()
    await process.wait()
    return [int(line) for line in said if line]
