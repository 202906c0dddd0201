"""Commands as processes of their own, against a real broker and a real engine process."""

import asyncio
import json
import os
import shlex
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from broker import codec
from broker.embedded import EmbeddedBroker
from broker.topics import Topics
from schemas.frame import MotionFrame
from schemas.job import ErrorDetail, JobStatus
from schemas.status import StatusDocument
from service.cli import main
from tests.support.factories import NOON, make_image
from tests.support.http_receivers import Receiver, answers
from tests.unit.service.commands.test_view import make_result

# Each command starts an interpreter or two and some import torch: seconds on a free machine, more
# than a minute on one that trains a model meanwhile.
pytestmark = pytest.mark.timeout(180)

FIXTURE = Path(__file__).parents[1] / "data" / "moondream-tiny-ref"


@dataclass(slots=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str


async def run_command(*words: str | Path, environment: dict[str, str] | None = None) -> Ended:
    process = await start_command(*words, environment=environment)
    out, err = await process.communicate()
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


async def start_command(
    *words: str | Path, environment: dict[str, str] | None = None
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service", *map(str, words)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **(environment or {})},
    )


@pytest.fixture
def environment(mosquitto: EmbeddedBroker, topic_base: str) -> dict[str, str]:
    """Settings that lead a command to the test's broker."""
    return {
        "MOONDREAM2MQTT__MQTT__PORT": str(mosquitto.port),
        "MOONDREAM2MQTT__MQTT__BASE_TOPIC": topic_base,
    }


@pytest.fixture
async def client(mosquitto: EmbeddedBroker) -> AsyncIterator[aiomqtt.Client]:
    async with aiomqtt.Client(mosquitto.host, mosquitto.port) as connected:
        yield connected


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(make_image())
    return path


@asynccontextmanager
async def a_service_that(
    client: aiomqtt.Client, topics: Topics, answer: str
) -> AsyncIterator[asyncio.Queue[MotionFrame]]:
    """Stand for the service: note each frame and give it one ending."""
    frames: asyncio.Queue[MotionFrame] = asyncio.Queue()

    async def serve() -> None:
        async for message in client.messages:
            frame = MotionFrame.model_validate_json(bytes(message.payload))
            frames.put_nowait(frame)
            camera, job_id = str(frame.camera_id), str(frame.job_id)
            if answer == "captions":
                document = make_result("A dog.", job_id=job_id, camera_id=camera)
                await client.publish(topics.caption(camera), codec.encode(document), qos=1)
            else:
                status = StatusDocument(
                    job_id=job_id,
                    camera_id=camera,
                    status=JobStatus.REJECTED,
                    message="not an image",
                    error=ErrorDetail(code="not_an_image", message="not an image"),
                    timestamp=NOON,
                )
                await client.publish(topics.status(camera), codec.encode(status), qos=1)

    await client.publish(topics.bridge("state"), "online", qos=1, retain=True)
    await client.subscribe(topics.frame_filter, qos=1)
    task = asyncio.create_task(serve())
    try:
        yield frames
    finally:
        task.cancel()


async def test_publish_wait_prints_the_caption(
    client: aiomqtt.Client, topic_base: str, environment: dict[str, str], picture: Path
) -> None:
    async with a_service_that(client, Topics(topic_base), "captions") as frames:
        words = ("publish", picture, "--camera", "front", "--intensity", "0.9", "--wait")
        ended = await run_command(*words, environment=environment)
    assert ended == Ended(0, "A dog.\n", "")
    frame = frames.get_nowait()
    assert (frame.camera_id, frame.motion_intensity) == ("front", 0.9)


async def test_publish_sends_tasks_in_the_form_of_the_wire(
    client: aiomqtt.Client, topic_base: str, environment: dict[str, str], picture: Path
) -> None:
    await client.subscribe(Topics(topic_base).frame("front"), qos=1)
    tasks = ("--task", "caption", "--task", "query=Is it 1=1?", "--task", '{"detect": "dog"}')
    choose = ("--choose", "Is the door open? = yes, no")
    words = ("publish", picture, "--camera", "front", "--prompt", "Who?", *tasks, *choose)
    ended = await run_command(*words, environment=environment)
    assert (ended.code, ended.err) == (0, "")
    frame = json.loads(bytes((await anext(aiter(client.messages))).payload))
    assert frame["prompt"] == "Who?"
    assert frame["tasks"] == [
        "caption",
        {"query": "Is it 1=1?"},
        {"detect": "dog"},
        {"choose": {"question": "Is the door open?", "choices": ["yes", "no"]}},
    ]


@pytest.mark.parametrize(
    "words",
    [
        ("--task", "dance"),
        ("--task", "query="),
        ("--task", "{"),
        ("--task", '{"a":' * 20_000),
        ("--task", "query=\udcff"),
        ("--task", "query=a") * 100,
        ("--prompt", ""),
        ("--prompt", "x" * 10_000),
        ("--prompt", "\udcff"),
        ("--choose", "Is it?"),
        ("--choose", "Is it?=yes"),
        ("--choose", "Is it?=yes,,no"),
    ],
)
def test_publish_of_no_task_is_bad_usage(
    words: tuple[str, ...], picture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["publish", str(picture), *words]) == 2
    said = capsys.readouterr().err
    assert words[0] in said
    assert (said.count("\n"), len(said) < 500) == (1, True)


async def test_publish_folder_sends_its_images_in_order(
    client: aiomqtt.Client, topic_base: str, environment: dict[str, str], tmp_path: Path
) -> None:
    for number, name in enumerate(("b.png", "a.jpg", "c.webp")):
        (tmp_path / name).write_bytes(make_image(number))
    (tmp_path / "notes.txt").write_text("no image")
    async with a_service_that(client, Topics(topic_base), "captions"):
        ended = await run_command("publish", tmp_path, "--wait", environment=environment)
    assert ended == Ended(
        0, "a.jpg: A dog.\nb.png: A dog.\nc.webp: A dog.\n", "3 sent, 3 captioned\n"
    )


async def test_publish_wait_of_rejected_frame_fails_with_its_reason(
    client: aiomqtt.Client, topic_base: str, environment: dict[str, str], picture: Path
) -> None:
    async with a_service_that(client, Topics(topic_base), "rejects"):
        ended = await run_command("publish", picture, "--wait", environment=environment)
    assert ended == Ended(1, "", "moondream2mqtt: photo.jpg: rejected: not an image\n")


async def test_publish_prints_job_ids(
    client: aiomqtt.Client, topic_base: str, environment: dict[str, str], picture: Path
) -> None:
    async with a_service_that(client, Topics(topic_base), "captions") as frames:
        ended = await run_command("publish", picture, picture, environment=environment)
        sent = [await frames.get(), await frames.get()]
    assert ended.out.split() == [frame.job_id for frame in sent]


async def test_watch_prints_a_line_per_caption_and_ends_with_130(
    client: aiomqtt.Client, topic_base: str, environment: dict[str, str]
) -> None:
    payload = codec.encode(make_result("A\ndog.", camera_id="front"))
    await client.publish(Topics(topic_base).caption("front"), payload, qos=1, retain=True)
    await client.publish(f"{topic_base}/front/status", "no document of ours", retain=True)
    process = await start_command("watch", environment=environment)
    assert process.stdout is not None
    line = await process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, errors = await process.communicate()
    assert line.decode() == "2026-01-01T12:00:00+00:00 front critical A dog.\n"
    assert (process.returncode, errors) == (130, b"")


async def test_command_without_broker_is_one_line_that_says_where(picture: Path) -> None:
    nowhere = {"MOONDREAM2MQTT__MQTT__PORT": "1"}
    for words in (("publish", picture), ("watch",)):
        ended = await run_command(*words, environment=nowhere)
        assert ended.code == 1
        assert ended.err.startswith("moondream2mqtt: broker 127.0.0.1:1: ")
        assert ended.err.count("\n") == 1


async def test_doctor_running_tells_online_from_offline(
    client: aiomqtt.Client, topic_base: str, environment: dict[str, str]
) -> None:
    codes = []
    for state in ("online", "offline"):
        await client.publish(Topics(topic_base).bridge("state"), state, qos=1, retain=True)
        ended = await run_command("doctor", "--running", environment=environment)
        assert f"service: {state}" in ended.out
        codes.append(ended.code)
    assert codes == [0, 1]


async def test_doctor_finds_everything_well(environment: dict[str, str], tmp_path: Path) -> None:
    well = {
        **environment,
        "MOONDREAM2MQTT__MODEL__NAME": str(FIXTURE),
        "MOONDREAM2MQTT__DATA_DIR": str(tmp_path / "data"),
        "MOONDREAM2MQTT__STORE__MIN_FREE_BYTES": "0",
        "MOONDREAM2MQTT__STORE__MAX_BYTES": str(16 << 20),
    }
    ended = await run_command("doctor", environment=well)
    lines = [line for line in ended.out.splitlines() if "is in memory" not in line]
    assert [line.split()[:2] for line in lines] == [
        ["ok", f"{part}:"]
        for part in ("configuration", "broker", "model", "device", "disk", "store")
    ]
    assert ended.code == 0
    assert not (tmp_path / "data").exists()


async def test_doctor_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    ill = {
        "MOONDREAM2MQTT__MQTT__PORT": "1",
        "MOONDREAM2MQTT__MODEL__NAME": str(tmp_path / "no-model"),
        "MOONDREAM2MQTT__MODEL__DEVICE": "cuda:99",
        "MOONDREAM2MQTT__STORE__MIN_FREE_BYTES": str(64 << 40),
    }
    ended = await run_command("doctor", environment=ill)
    marks = [line.split()[0] for line in ended.out.splitlines()]
    assert marks == ["ok", "TODO", "TODO", "TODO", "TODO", "ok"]
    assert "less than store.min_free_bytes" in ended.out
    assert ended.code == 1
    in_the_way = {**ill, "MOONDREAM2MQTT__DATA_DIR": str(tmp_path / "file" / "data")}
    ended = await run_command("doctor", environment=in_the_way)
    assert f"TODO disk: data_dir {tmp_path}/file/data: a file is in its way" in ended.out


async def test_doctor_asks_each_trigger_once() -> None:
    async with (
        Receiver(answers(200, body=make_image())) as camera,
        Receiver(answers(401)) as locked,
    ):
        settings = [
            {"every": 60, "camera": "garden", "url": f"{camera.url}?src={{camera}}"},
            {"topic": "a/{camera}/b", "url": f"{camera.url}?src={{camera}}"},
            {"topic": "a/{camera}/b", "url": camera.url},
            {"every": 60, "camera": "gate", "url": f"{locked.url}?user=me&password=s3cret"},
            {"every": 60, "camera": "door", "url": f"{locked.url}?user=me&password=s3cret"},
        ]
        ended = await run_command(
            "doctor",
            environment={
                "MOONDREAM2MQTT__TRIGGERS": json.dumps(settings),
                "MOONDREAM2MQTT__MQTT__PORT": "1",
            },
        )
        assert (len(camera.requests), len(locked.requests)) == (2, 1)
    lines = [each for each in ended.out.splitlines() if " triggers[" in each]
    assert lines[0] == f"ok   triggers[0]: {camera.url[:-5]}, JPEG of 320 x 240, " + lines[0][-10:]
    assert lines[1] == "ok   triggers[1]: not asked: only its messages say which camera"
    assert lines[2].startswith("ok   triggers[2]: ")
    assert all("TODO" in each and "the account is refused" in each for each in lines[3:])
    assert "s3cret" not in ended.out + ended.err


async def test_doctor_of_bad_configuration_exits_2(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("mqtt: {prot: 5}")
    ended = await run_command("doctor", "--config", tmp_path / "config.yaml")
    assert ended.code == 2
    assert ended.out.startswith("TODO configuration: ")
    assert ended.out.endswith("mqtt.prot: unknown setting\n")


@pytest.fixture(scope="module")
def recorded() -> list[dict[str, Any]]:
    """What the reference implementation answered, image by image."""
    content = json.loads((FIXTURE / "expected.json").read_text())
    images: list[dict[str, Any]] = content["images"]
    return images


def infer_words(images: Sequence[dict[str, Any]], *more: str) -> list[str]:
    files = [str(FIXTURE / record["file"]) for record in images]
    exact = ("--temperature", "0", "--device", "cpu", "--dtype", "float32", "--max-tokens", "32")
    return ["infer", *files, "--model", str(FIXTURE), "--json", *exact, *more]


async def test_infer_gives_the_reference_captions_in_order(recorded: list[dict[str, Any]]) -> None:
    ended = await run_command(*infer_words(recorded, "--batch", "3"))
    assert ended.err == ""
    lines = [json.loads(line) for line in ended.out.splitlines()]
    assert [line["image"] for line in lines] == [str(FIXTURE / each["file"]) for each in recorded]
    for line, record in zip(lines, recorded, strict=True):
        assert line["quantization"] == "none"
        assert line["caption"]["token_ids"] == record["caption"]["normal"]["token_ids"]
        assert line["caption"]["text"] == record["caption"]["normal"]["text"]
        assert 0 < line["caption"]["confidence"] <= 1


async def test_infer_gives_the_reference_answers_boxes_and_points(
    recorded: list[dict[str, Any]],
) -> None:
    record = recorded[0]
    question, label, spot = (
        record["query"]["question"],
        record["detect"]["object"],
        record["point"]["object"],
    )
    words = ("--query", question, "--detect", label, "--point", spot, "--max-objects", "6")
    ended = await run_command(*infer_words([record], "--caption", "short", *words))
    found = json.loads(ended.out)
    assert found["caption"]["token_ids"] == record["caption"]["short"]["token_ids"]
    [query] = found["queries"]
    assert query["question"] == question
    assert query["token_ids"] == record["query"]["token_ids"]
    [objects] = found["objects"]
    assert objects["boxes"] == [pytest.approx(box) for box in record["detect"]["objects"]]
    [points] = found["points"]
    assert points["points"] == [pytest.approx(place) for place in record["point"]["objects"]]


async def test_infer_weighs_choices(recorded: list[dict[str, Any]]) -> None:
    words = ("--choose", "Is 1+1=2?=yes, no ,perhaps", "--choose", "Who?=a cat,a dog")
    ended = await run_command(*infer_words(recorded[:1], *words))
    found = json.loads(ended.out)
    assert found["caption"] is None
    first, second = found["choices"]
    assert (first["question"], second["question"]) == ("Is 1+1=2?", "Who?")
    assert list(first["probabilities"]) == ["yes", "no", "perhaps"]
    for choice in (first, second):
        assert sum(choice["probabilities"].values()) == pytest.approx(1)
        assert choice["confidence"] == max(choice["probabilities"].values())
        assert choice["probabilities"][choice["answer"]] == choice["confidence"]


@pytest.mark.parametrize("text", ["Who?", "Who?=a", "=a,b", "Who?=a,a", "Who?=a,,b"])
async def test_infer_refuses_what_is_no_choice(picture: Path, text: str) -> None:
    ended = await run_command("infer", picture, "--choose", text)
    assert ended.code == 2
    assert "choose." in ended.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--query", ""), "--query"),
        (("--query", "x" * 10_000), "--query"),
        (("--detect", " "), "--detect"),
        (("--point", ""), "--point"),
        (("--device", "tpu"), "--device: model.device: must be auto, cpu"),
        (("--model", "https://me:hunter2@hub/x"), "--model: model.name: must be a hub id"),
        (("--revision", ""), "--revision: model.revision"),
    ],
)
def test_infer_refuses_what_no_setting_and_no_task_can_be(
    words: tuple[str, ...], says: str, picture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["infer", str(picture), *words]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert (said.count("\n"), "hunter2" in said) == (1, False)


def test_infer_refuses_what_may_have_no_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path / "pipe.jpg", Path("/dev/zero")):
        assert main(["infer", str(path), "--model", str(FIXTURE)]) == 2
        assert f"{path}: is no file" in capsys.readouterr().err


def test_names_of_files_are_nothing_a_terminal_obeys(
    picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = tmp_path / "a\nb\x1b]0;x\x07.jpg"
    odd.write_bytes(picture.read_bytes())
    assert main(["infer", str(odd), "--model", str(FIXTURE)]) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path}/a b ]0;x .jpg\n")


async def test_infer_tells_the_bad_image_and_goes_on(
    recorded: list[dict[str, Any]], tmp_path: Path
) -> None:
    bad = tmp_path / "text.jpg"
    bad.write_text("no image at all")
    ended = await run_command("infer", bad, *infer_words(recorded[:1])[1:])
    first, second = (json.loads(line) for line in ended.out.splitlines())
    assert first["image"] == str(bad)
    assert first["error"]["code"] == "not_an_image"
    assert second["caption"]["token_ids"] == recorded[0]["caption"]["normal"]["token_ids"]
    assert (ended.code, ended.err) == (1, "moondream2mqtt: 1 of 2 images failed\n")


async def test_infer_without_a_model_is_one_line(picture: Path, tmp_path: Path) -> None:
    ended = await run_command("infer", picture, "--model", tmp_path / "none")
    assert ended.code == 1
    assert ended.err.startswith("moondream2mqtt: ")
    assert ended.err.count("\n") == 1


async def test_download_of_a_folder_finds_it(tmp_path: Path) -> None:
    ended = await run_command("download", FIXTURE)
    assert ended == Ended(0, f"{FIXTURE}\n", "")


async def test_download_tells_the_hub_nothing_of_this_machine(tmp_path: Path) -> None:
    """Without the variable that we set, the hub's library names torch and its version."""
    async with Receiver(answers(404)) as hub:
        environment = {
            "HF_HOME": str(tmp_path),
            "HF_ENDPOINT": hub.url.removesuffix("/hook"),
            "HF_HUB_DISABLE_TELEMETRY": "0",
        }
        ended = await run_command("download", "some/model", environment=environment)
    assert ended.code == 1
    assert hub.requests
    assert all("torch" not in each.headers["user-agent"] for each in hub.requests)


async def test_letter_that_the_output_lacks_ends_no_command() -> None:
    ascii_only = {"PYTHONIOENCODING": "ascii:strict"}
    ended = await run_command("doctor", "--config", "ä.yaml", environment=ascii_only)
    assert (ended.code, ended.err) == (2, "")
    assert "\\xe4.yaml: cannot be read" in ended.out


@pytest.mark.parametrize("words", ["--version", "request --list"])
async def test_output_that_is_full_is_one_line(words: str) -> None:
    command = f"{shlex.quote(sys.executable)} -m service {words} > /dev/full"
    process = await asyncio.create_subprocess_shell(command, stderr=asyncio.subprocess.PIPE)
    _, err = await process.communicate()
    assert process.returncode == 1
    assert err == b"moondream2mqtt: the output cannot be written: No space left on device\n"


async def test_reader_that_has_seen_enough_ends_a_command_quietly() -> None:
    command = f"{shlex.quote(sys.executable)} -m service request --list | true"
    process = await asyncio.create_subprocess_shell(command, stderr=asyncio.subprocess.PIPE)
    _, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")


@pytest.mark.parametrize("words", [("--", "--help"), ("--", "-x"), ("--revision", "-x")])
async def test_download_takes_a_name_as_one_whatever_it_looks_like(words: tuple[str, ...]) -> None:
    ended = await run_command("download", *words, environment={"HF_HUB_OFFLINE": "1"})
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("moondream2mqtt: ")
    assert ended.err.count("\n") == 1


async def test_download_of_a_url_does_not_show_its_password() -> None:
    ended = await run_command("download", "https://me:hunter2@hub/x")
    assert ended == Ended(
        2, "", "moondream2mqtt: HUB_ID: model.name: must be a hub id or a folder, not a URL\n"
    )


async def test_download_without_network_is_one_line(tmp_path: Path) -> None:
    offline = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    ended = await run_command("download", environment=offline)
    assert ended.code == 1
    assert ended.err.startswith("moondream2mqtt: vikhyatk/moondream2 2025-06-21 config.json: ")
    assert ended.err.count("\n") == 1
