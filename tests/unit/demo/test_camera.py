import asyncio
import base64
import io
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import aiomqtt
import pytest
from PIL import Image

from demo.camera import default_cameras, frame_document, run_camera, story
from schemas.frame import MotionFrame
from tests.support.mosquitto import mosquitto_or_skip


@pytest.fixture
def broker_port(tmp_path: Path) -> Iterator[int]:
    """A Mosquitto of its own on a free port."""
    program = mosquitto_or_skip()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    settings = tmp_path / "mosquitto.conf"
    settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    with subprocess.Popen([*program.command, settings], stderr=subprocess.DEVNULL) as process:
        try:
            wait_until_open(port)
            yield port
        finally:
            process.terminate()


def wait_until_open(port: int) -> None:
    for _ in range(100):
        with socket.socket() as probe:
            probe.settimeout(0.05)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError(f"no broker on port {port}")


def test_default_cameras_are_four_with_names_of_their_own() -> None:
    cameras = default_cameras()
    assert len({camera.camera_id for camera in cameras}) == 4
    assert len({camera.place for camera in cameras}) == 4


@pytest.mark.parametrize("camera", default_cameras(), ids=lambda camera: camera.camera_id)
def test_frame_document_is_a_motion_frame(camera: object) -> None:
    chosen = next(own for own in default_cameras() if own == camera)
    frame = next(story(chosen, 1))
    parsed = MotionFrame.model_validate(frame_document(chosen, frame))
    assert parsed.camera_id == chosen.camera_id
    assert parsed.motion_intensity == frame.motion_intensity
    assert parsed.metadata == {"truth": frame.caption}
    assert parsed.frame_data is not None
    image = Image.open(io.BytesIO(base64.b64decode(parsed.frame_data)))
    assert image.format == "JPEG"
    assert image.size == chosen.size


async def test_run_camera_publishes_its_frames_and_stops(broker_port: int) -> None:
    camera = default_cameras()[2]
    async with aiomqtt.Client("127.0.0.1", broker_port) as client:
        await client.subscribe("home/+/frame", qos=1)
        await run_camera(camera, "127.0.0.1", broker_port, "home", frames=3, every=0.01)
        received = []
        async with asyncio.timeout(10):
            async for message in client.messages:
                received.append(message)
                if len(received) == 3:
                    break
    assert {str(message.topic) for message in received} == {"home/backyard/frame"}
    assert {message.qos for message in received} == {1}
    for message in received:
        assert isinstance(message.payload, bytes)
        MotionFrame.model_validate_json(message.payload)


async def test_run_camera_without_a_broker_raises() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    with pytest.raises(aiomqtt.MqttError):
        await run_camera(default_cameras()[0], "127.0.0.1", port, "home", frames=1, every=0)
