"""`doctor --measure` with a real engine process, and with one that says what we want to hear."""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from engine.protocol import LoadFailed, Loading, Ready
from service.commands.checks.measure import measure
from service.engines.process import EngineProcess
from service.settings import Settings
from tests.integration.test_commands import FIXTURE, run_command
from tests.unit.service.engines.test_speed import READY

pytestmark = pytest.mark.timeout(180)

CHILD = """
import sys
from engine import protocol
from tests.support.scripted_child import Peer
arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))
peer = Peer(int(arguments["--socket"]))
for message in {messages}:
    peer.send(message)
peer.receive()
"""


def engine_that_says(*messages: Any) -> partial[EngineProcess]:
    from_engine = [f"protocol.{each!r}" for each in (*messages,)]
    code = CHILD.replace(
        "{messages}", f"[protocol.Hello(protocol.VERSION), {', '.join(from_engine)}]"
    )
    return partial(EngineProcess, command=(sys.executable, "-c", code))


async def test_slow_device_gets_its_figures_and_what_to_change() -> None:
    told: list[str] = []
    ready = replace(READY, load_seconds=14.2, ram_mb=7680.0)
    start = engine_that_says(Loading("warming up"), ready)
    [finding] = await measure(Settings(), told.append, start)
    assert (finding.part, finding.level) == ("speed", "note")
    assert finding.text == (
        "cpu in float32: loaded in 14.2 s, 7.5 GiB of memory, 52 s a frame of 1280 x 720 with a "
        "caption; faster with model.quantization: int8, or model.max_crops: 2, or length: short"
    )
    assert told == ["warming up"]


async def test_quick_device_is_well() -> None:
    ready: Ready = replace(
        READY, device="cuda:0", dtype="bfloat16", vram_mb=4096.0, seconds_per_frame=0.31
    )
    [finding] = await measure(Settings(), print, engine_that_says(ready))
    assert finding.level == "ok"
    assert "and 4.0 GiB of the GPU's, 0.31 s a frame" in finding.text


async def test_model_that_cannot_be_loaded_is_told_in_the_engines_words() -> None:
    failed = LoadFailed("out_of_memory", "The device has not enough free memory", can_retry=True)
    [finding] = await measure(Settings(), print, engine_that_says(failed))
    assert finding.level == "TODO"
    assert finding.text.startswith("auto: The device has not enough free memory")


async def test_engine_that_dies_is_a_finding() -> None:
    start = partial(EngineProcess, command=(sys.executable, "-c", "raise SystemExit(9)"))
    [finding] = await measure(Settings(), print, start)
    assert finding.level == "TODO"
    assert "exited with 9" in finding.text


async def test_command_measures_the_configured_model(tmp_path: Path) -> None:
    environment = {
        "MOONDREAM2MQTT__MQTT__PORT": "1",
        "MOONDREAM2MQTT__DATA_DIR": str(tmp_path / "data"),
        "MOONDREAM2MQTT__MODEL__NAME": str(FIXTURE),
        "MOONDREAM2MQTT__MODEL__DEVICE": "cpu",
        "MOONDREAM2MQTT__MODEL__DTYPE": "float32",
    }
    ended = await run_command("doctor", "--measure", environment=environment)
    last = ended.out.splitlines()[-1]
    assert " speed: cpu in float32: loaded in " in last
    assert " frame of 1280 x 720 with a caption" in last
    assert ended.err == ""
