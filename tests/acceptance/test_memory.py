"""The measurement of memory runs from beginning to end; what it finds is not asked here."""

import asyncio
import csv
import sys
from pathlib import Path

from broker.embedded import BrokerProgram


async def test_soak_measures_memory_and_leaves_its_samples(
    mosquitto_program: BrokerProgram, tmp_path: Path
) -> None:
    path = tmp_path / "samples.csv"
    options = ("--memory", "3", "--warm-up", "1", "--every", "0.5", "--csv", str(path))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.soak", *options, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    lines = output.decode().splitlines()
    assert lines[-2].startswith("KEPT: ")
    assert lines[-1].split(":")[0] in {"FLAT", "GROWS", "UNDECIDED"}
    assert process.returncode == (0 if lines[-1].startswith("FLAT") else 1)
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert len(rows) == 8
    assert all(float(row["rss_mib"]) > 20 for row in rows)
    assert int(rows[-1]["accepted"]) > 0
