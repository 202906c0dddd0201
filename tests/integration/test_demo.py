"""The demonstration as a stranger runs it."""

import json
import re
import socket
from pathlib import Path

import aiomqtt
import httpx
import pytest

from service.commands import demo
from service.http_settings import HttpSettings
from tests.integration.test_commands import run_command, start_command
from tests.support.factories import make_image

MODEL = Path(demo.__file__).parents[2] / "demo" / "model" / "model.safetensors"
LINE = re.compile(
    r"(front_door|driveway|backyard|street) +(low|normal|high|critical) +\d+\.\d\d s  drawn: .+"
    r"  said: .+"
)


@pytest.mark.skipif(not MODEL.exists(), reason="the demonstration model is not trained yet")
@pytest.mark.timeout(150)  # the demo gives itself two minutes
async def test_demo_prints_that_many_captions_and_leaves_nothing(tmp_path: Path) -> None:
    words = ("demo", "--frames", "6", "--every", "0.5")
    ended = await run_command(*words, environment={"TMPDIR": str(tmp_path)})
    lines = ended.out.splitlines()
    assert ended.code == 0, ended.err
    assert len(lines) == 6
    assert all(LINE.fullmatch(line) for line in lines)
    assert not leftovers(tmp_path)


@pytest.mark.skipif(not MODEL.exists(), reason="the demonstration model is not trained yet")
@pytest.mark.timeout(150)
async def test_demo_is_exact_and_captions_what_somebody_else_sends_it() -> None:
    """In float32 on processors with bfloat16 instructions, too: the same words everywhere."""
    process = await start_command("demo", "--frames", "40", "--every", "0.3")
    assert process.stdout is not None
    assert process.stderr is not None
    port = 0
    while not port:
        line = (await process.stderr.readline()).decode()
        if found := re.match(r"mosquitto_sub -p (\d+) -v -t 'moondream2mqtt/#' \\", line):
            port = int(found[1])
    await process.stdout.readline()
    async with aiomqtt.Client("127.0.0.1", port) as client:
        await client.publish("moondream2mqtt/stranger/frame", make_image(), qos=1)
        await client.subscribe("moondream2mqtt/bridge/info")
        models = (json.loads(message.payload)["model"] async for message in client.messages)
        ready = await anext(model async for model in models if model["state"] == "ready")
    assert (ready["dtype"], ready["quantization"]) == ("float32", "none")
    out, err = await process.communicate()
    assert process.returncode == 0, err
    assert re.search(r"^stranger +normal +\d+\.\d\d s  said: .+$", out.decode(), re.MULTILINE)


@pytest.mark.skipif(not MODEL.exists(), reason="the demonstration model is not trained yet")
@pytest.mark.timeout(150)
async def test_demo_says_where_its_page_is_and_answers_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:  # it is in use: another port is taken
        taken = str(other.getsockname()[1])
        port_setting = {"MOONDREAM2MQTT__HTTP__PORT": taken}
        process = await start_command("demo", "--frames", "8", environment=port_setting)
        assert process.stdout is not None
        assert process.stderr is not None
        found = None
        while found is None:
            line = (await process.stderr.readline()).decode()
            assert line, "no address of the page"
            found = re.search(r"page: (http://127\.0\.0\.1:(\d+)/)$", line.strip())
        assert found[2] != taken
        await process.stdout.readline()  # a caption: it is up
        async with httpx.AsyncClient(base_url=found[1]) as client:
            page = await client.get("/", headers={"Accept": "text/html"})
            state = await client.get("/", headers={"Accept": "application/json"})
        assert page.text.startswith("<!doctype html>")
        assert state.json()["status"] == "healthy"
        _, err = await process.communicate()
    assert process.returncode == 0, err


def test_demo_keeps_its_page_off_when_it_is_told_so() -> None:
    assert not demo.on_this_machine(HttpSettings(enabled=False)).enabled
    assert demo.on_this_machine(HttpSettings(port=0)).port > 0


def leftovers(folder: Path) -> list[Path]:
    return list(folder.iterdir())
