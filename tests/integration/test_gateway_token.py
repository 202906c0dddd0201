"""`serve` shows the token where it was made, once, and never in its log."""

import asyncio
import signal
from pathlib import Path

import pytest

from tests.integration.test_commands import environment, start_command
from tests.support.free_port import free_port

__all__ = ["environment"]


@pytest.mark.timeout(120)
async def test_token_is_printed_at_the_first_start_alone(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    data_dir = tmp_path / "data"
    variables = {
        **environment,
        "MOONDREAM2MQTT__DATA_DIR": str(data_dir),
        "MOONDREAM2MQTT__HTTP__ENABLED": "true",
        "MOONDREAM2MQTT__HTTP__PORT": str(free_port()),
        "MOONDREAM2MQTT__MODEL__NAME": "demo/model",
    }
    outputs, logs = [], []
    for _ in range(2):
        process = await start_command("serve", environment=variables)
        assert process.stderr is not None
        log = b""
        async with asyncio.timeout(60):
            while b"HTTP on http://127.0.0.1" not in log:
                line = await process.stderr.readline()
                assert line, log.decode()
                log += line
        process.send_signal(signal.SIGTERM)
        out, rest = await process.communicate()
        outputs.append(out.decode())
        logs.append((log + rest).decode())
    token = (data_dir / "http-token").read_text()
    assert outputs[0].count(token) == 1
    assert outputs[1] == ""
    assert token not in "".join(logs)
    assert all(str(data_dir / "http-token") in log for log in logs)
