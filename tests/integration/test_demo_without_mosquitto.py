"""The demonstration where Mosquitto cannot be installed: on the broker in Python."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

# In a process of its own, so that nothing else misses the folders of daemons.
_PROGRAM = (
    "from broker import embedded; embedded._SBIN = (); from service.cli import main; "
    "raise SystemExit(main())"
)


@pytest.mark.timeout(150)  # the demo gives itself two minutes
async def test_demo_without_mosquitto_captions_and_says_which_broker(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _PROGRAM, "demo", "--frames", "4", "--every", "0.5"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PATH": str(tmp_path), "TMPDIR": str(tmp_path)},
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert len(out.decode().splitlines()) == 4
    assert "amqtt" in err.decode()
    assert "moondream2mqtt watch --host 127.0.0.1 --port" in err.decode()
    assert "mosquitto_sub" not in err.decode()  # it is missing as well
