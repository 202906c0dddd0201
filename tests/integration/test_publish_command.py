"""`publish`: what it refuses, and what it tells of the frames it has sent."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from broker import codec
from broker.embedded import EmbeddedBroker
from broker.topics import Topics
from schemas.frame import MotionFrame
from schemas.job import JobStatus
from schemas.status import BridgeInfo, ModelStatus, StatusDocument
from service.cli import main
from service.settings import Settings
from tests.integration.test_commands import Ended
from tests.support.factories import NOON, make_image
from tests.support.quick_service import serving
from tests.unit.service.commands.test_view import make_result

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def config(mosquitto: EmbeddedBroker, topic_base: str, tmp_path: Path) -> str:
    """A settings file that leads to the test's broker, nowhere near the pictures."""
    path = tmp_path / "settings" / "config.yaml"
    path.parent.mkdir()
    path.write_text(json.dumps({"mqtt": {"port": mosquitto.port, "base_topic": topic_base}}))
    return str(path)


@pytest.fixture
async def client(mosquitto: EmbeddedBroker) -> AsyncIterator[aiomqtt.Client]:
    async with aiomqtt.Client(mosquitto.host, mosquitto.port) as connected:
        yield connected


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    return photo(tmp_path, "photo.jpg", 1)


def photo(folder: Path, name: str, number: int) -> Path:
    path = folder / name
    path.write_bytes(make_image(number))
    return path


class Command:
    """`publish` in this process, with the settings of the test.

    Args:
        config: The settings file.
        captured: What was printed.
    """

    def __init__(self, config: str, captured: pytest.CaptureFixture[str]) -> None:
        self._config = config
        self._captured = captured

    async def run(self, *words: object) -> Ended:
        self._captured.readouterr()
        line = ["publish", *map(str, words), "--config", self._config]
        code = await asyncio.to_thread(main, line)
        shown = self._captured.readouterr()
        said = f"moondream2mqtt: settings from {self._config}\n"
        return Ended(code, shown.out, shown.err.removeprefix(said))


@pytest.fixture
def command(config: str, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(config, capsys)


@asynccontextmanager
async def a_service(
    client: aiomqtt.Client, topics: Topics, *answers: dict[str, Any], model: str = "ready"
) -> AsyncIterator[None]:
    """Stand for the service: each frame is answered with statuses, which may be none."""
    info = BridgeInfo(
        version="0",
        instance="x",
        mqtt_version="5",
        model=ModelStatus(
            name="m",
            revision="r",
            device="cpu",
            dtype="float32",
            state=model,
            message="no such folder" if model == "failed" else "downloading 43 %",
        ),
        limits={},
        settings={},
    )
    await client.publish(topics.bridge("info"), codec.encode(info), qos=1, retain=True)
    await client.publish(topics.bridge("state"), "online", qos=1, retain=True)
    await client.subscribe(topics.frame_filter, qos=1)

    async def serve() -> None:
        async for message in client.messages:
            frame = MotionFrame.model_validate_json(bytes(message.payload))
            names = {"job_id": str(frame.job_id), "camera_id": str(frame.camera_id)}
            for answer in answers:
                if "caption" in answer:
                    result = make_result(answer["caption"], **{**names, **answer.get("of", {})})
                    topic = topics.caption(names["camera_id"])
                    await client.publish(topic, codec.encode(result), qos=1)
                else:
                    status = StatusDocument(**{**names, "timestamp": NOON, **answer})
                    topic = topics.status(names["camera_id"])
                    await client.publish(topic, codec.encode(status), qos=1)

    task = asyncio.create_task(serve())
    try:
        yield
    finally:
        task.cancel()


def waiting(message: str) -> dict[str, Any]:
    return {"status": JobStatus.QUEUED, "message": message}


# -- what is refused before anything is sent -----------------------------------------------------


async def test_file_that_is_no_image_is_refused_before_anything_is_sent(
    command: Command, client: aiomqtt.Client, topic_base: str, picture: Path
) -> None:
    folder = picture.parent
    whole = make_image(1)
    wrong = {
        "text.jpg": (b"no image at all", "not a JPEG, PNG or WebP image"),
        "empty.jpg": (b"", "is empty"),
        "header.jpg": (whole[:40], "the JPEG image is cut off"),
        "cut.jpg": (whole[: len(whole) // 2], "the JPEG image is cut off"),
    }
    await client.subscribe(f"{topic_base}/#", qos=1)
    for name, (content, reason) in wrong.items():
        path = folder / name
        path.write_bytes(content)
        ended = await command.run(picture, path)
        says = f"moondream2mqtt: {path}: {reason}; nothing was sent\n"
        assert ended == Ended(1, "", says)
    await client.publish(f"{topic_base}/end", qos=1)
    message = await anext(aiter(client.messages))
    assert message.topic.value == f"{topic_base}/end"


async def test_folder_without_images_and_file_that_is_none_are_refused(
    command: Command, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    ended = await command.run(empty)
    assert ended.code == 1
    assert ended.err == (
        f"moondream2mqtt: {empty}: holds no JPEG, PNG or WebP file; nothing was sent\n"
    )
    os.mkfifo(tmp_path / "pipe.jpg")
    ended = await command.run(tmp_path / "pipe.jpg")
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "pipe.jpg: is no file" in ended.err
    for number in range(7):
        (empty / f"{number}.jpg").write_text("x")
    ended = await command.run(empty)
    assert ended.code == 1
    assert "and 2 more; nothing was sent" in ended.err


@pytest.mark.parametrize("camera", ["bridge", "a b", "+", "#", "", "a/b", "x" * 65])
async def test_name_of_no_camera_is_bad_usage(command: Command, picture: Path, camera: str) -> None:
    ended = await command.run(picture, "--camera", camera)
    assert (ended.code, ended.out) == (2, "")
    assert "--camera" in ended.err
    assert ended.err.count("\n") == 1


# -- who is there --------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [(), ("--wait",)])
async def test_nobody_who_listens_is_said_at_once(
    command: Command, topic_base: str, picture: Path, words: tuple[str, ...]
) -> None:
    async with asyncio.timeout(8):
        ended = await command.run(picture, *words)
    says = f"no service is online: nobody has subscribed to {topic_base}/camera_001/frame"
    assert ended == Ended(1, "", f"moondream2mqtt: {says}\n")


async def test_service_that_is_offline_is_said_at_once_and_nothing_is_sent(
    command: Command, client: aiomqtt.Client, topic_base: str, picture: Path
) -> None:
    topics = Topics(topic_base)
    await client.publish(topics.bridge("state"), "offline", qos=1, retain=True)
    await client.subscribe(topics.frame_filter, qos=1)
    async with asyncio.timeout(2):
        ended = await command.run(picture, "--wait")
    says = f"no service is online: {topics.bridge('state')} says offline; nothing was sent"
    assert ended == Ended(1, "", f"moondream2mqtt: {says}\n")
    await client.publish(topics.frame("end"), qos=1)
    assert (await anext(aiter(client.messages))).topic.value == topics.frame("end")


async def test_wait_shows_the_models_way_and_the_queues(
    command: Command, client: aiomqtt.Client, topic_base: str, picture: Path
) -> None:
    answers = (waiting("Waiting for the model to load"), waiting("Next"), {"caption": "A dog."})
    async with a_service(client, Topics(topic_base), *answers, model="loading"):
        ended = await command.run(picture, "--wait")
    assert (ended.code, ended.out) == (0, "A dog.\n")
    assert ended.err == (
        "The model is loading: downloading 43 %\nWaiting for the model to load\nNext\n"
    )


@pytest.mark.parametrize(
    ("model", "answers", "reason"),
    [
        ("failed", [waiting("Waiting")], "the model has failed: no such folder"),
        ("loading", [waiting("Waiting")], "the model is loading: downloading 43 %"),
        ("ready", [waiting("Waiting, 3 are ahead")], "the service says: Waiting, 3 are ahead"),
        ("ready", [], "the service says nothing of it: may this account publish frames"),
    ],
)
async def test_time_that_is_up_repeats_the_services_own_reason(
    command: Command,
    client: aiomqtt.Client,
    topic_base: str,
    picture: Path,
    model: str,
    answers: list[dict[str, Any]],
    reason: str,
) -> None:
    async with a_service(client, Topics(topic_base), *answers, model=model):
        ended = await command.run(picture, "--wait", "--timeout", "0.5")
    assert (ended.code, ended.out) == (1, "")
    *_, line = ended.err.splitlines()
    assert line.startswith(f"moondream2mqtt: no caption within 0.5 s for photo.jpg; {reason}")


async def test_service_that_goes_away_meanwhile_is_said(
    command: Command, client: aiomqtt.Client, topic_base: str, picture: Path
) -> None:
    topics = Topics(topic_base)
    async with a_service(client, topics, waiting("Next")):
        running = asyncio.create_task(command.run(picture, "--wait", "--timeout", "3"))
        await asyncio.sleep(1)
        await client.publish(topics.bridge("state"), "offline", qos=1, retain=True)
        ended = await running
    assert "The service went offline\n" in ended.err
    assert ended.code == 1


# -- how it ends ---------------------------------------------------------------------------------


async def test_several_end_with_a_summary_and_their_reasons(
    command: Command, client: aiomqtt.Client, topic_base: str, tmp_path: Path
) -> None:
    dropped = {"status": JobStatus.DROPPED, "message": "The queue is full"}
    for number in range(8):
        photo(tmp_path, f"{number}.jpg", number)
    async with a_service(client, Topics(topic_base), dropped):
        ended = await command.run(tmp_path, "--wait")
    assert (ended.code, ended.out) == (1, "")
    summary, line = ended.err.splitlines()
    assert summary == "8 sent, 8 dropped"
    assert line.startswith("moondream2mqtt: 0.jpg: dropped: The queue is full; 1.jpg: ")
    assert line.endswith("; and 3 more")


async def test_several_without_wait_print_ids_and_a_summary(
    command: Command, client: aiomqtt.Client, topic_base: str, picture: Path
) -> None:
    async with a_service(client, Topics(topic_base)):
        ended = await command.run(picture, picture)
    assert (ended.code, ended.err) == (0, "2 sent\n")
    assert len(ended.out.split()) == 2


async def test_same_picture_again_has_the_caption_of_the_first(
    mosquitto: EmbeddedBroker, command: Command, topic_base: str, picture: Path, tmp_path: Path
) -> None:
    """The user gets what was asked for, and hears why it is not new."""
    settings = Settings(
        mqtt={"port": mosquitto.port, "base_topic": topic_base}, data_dir=tmp_path / "data"
    )
    async with serving(settings, tmp_path / "scratch"):
        first = await command.run(picture, "--wait", "--camera", "front")
        assert (first.code, first.out.count("\n")) == (0, 1)
        other = photo(picture.parent, "other.jpg", 2)
        newer = await command.run(other, "--wait", "--camera", "front")
        assert newer.code == 0
        again = await command.run(picture, "--wait", "--camera", "front")
        assert (again.code, again.out) == (0, first.out)
        assert "photo.jpg: The same picture as " in again.err
        both = await command.run(picture, other, "--wait", "--camera", "front")
        assert both.code == 0
        assert both.out == f"photo.jpg: {first.out}other.jpg: {newer.out}"
        assert both.err.splitlines()[-1] == "2 sent, 2 duplicate"
        third = photo(picture.parent, "third.jpg", 3)
        twice = await command.run(third, third, "--wait", "--camera", "front")
        assert twice.code == 0
        assert twice.out.count("third.jpg: ") == 2
        assert twice.err.splitlines()[-1] == "2 sent, 1 captioned, 1 duplicate"


async def test_several_on_a_terminal_have_a_bar_and_captions_stay_on_stdout(
    client: aiomqtt.Client, topic_base: str, config: str, tmp_path: Path
) -> None:
    ours, theirs = os.openpty()
    pictures = [photo(tmp_path, f"{number}.jpg", number) for number in range(3)]
    async with a_service(client, Topics(topic_base), waiting("Next"), {"caption": "A dog."}):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "service", "publish", *map(str, pictures)),
            *("--wait", "--config", config),
            stdout=asyncio.subprocess.PIPE,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
        )
        output, _ = await process.communicate()
    os.close(theirs)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert process.returncode == 0
    assert output.decode().splitlines() == [f"{number}.jpg: A dog." for number in range(3)]
    assert "3/3" in shown or "2/3" in shown
    assert "3 sent, 3 captioned" in shown
