"""`publish`: image files as frames of a camera, to try a set-up or to caption a folder.

Frames go out in the JSON form, which carries the motion intensity on every MQTT version.
"""

import asyncio
import base64
import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import aiomqtt
import typer
from pydantic import ValidationError

from broker.topics import Topics
from schemas.frame import MotionFrame, Task, is_camera_id
from schemas.job import JobStatus
from schemas.result import ResultDocument
from schemas.status import StatusDocument
from service.commands.client import connect_newest
from service.commands.completion import complete_camera
from service.commands.options import CommonOptions, read_choose, talks_to_broker
from service.errors import ServiceError

_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


@talks_to_broker
def run(
    common: CommonOptions,
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH...",
            help="Image files, or folders: their JPEG, PNG and WebP files go out in order of name.",
        ),
    ],
    camera: Annotated[
        str,
        typer.Option(
            metavar="ID",
            help="Camera the frames come from: letters, digits, _ and -, at most 64.",
            autocompletion=complete_camera,
        ),
    ] = "camera_001",
    intensity: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            metavar="0.0-1.0",
            help="How much moves. Gives the priority: 0.8 and more is critical, 0.6 high, "
            "0.4 normal, less is low.",
        ),
    ] = 0.5,
    prompt: Annotated[
        str | None,
        typer.Option(metavar="QUESTION", help="A question to answer in place of the caption."),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TASK",
            help="What to do: caption, query=QUESTION, detect=LABEL, point=LABEL, or a task as "
            "JSON. May be repeated; none: what the camera's settings say.",
        ),
    ] = None,
    choose: Annotated[
        list[str] | None,
        typer.Option(
            metavar="QUESTION=CHOICE,CHOICE",
            help="A question with the only answers there can be. May be repeated, and goes with "
            "--task.",
        ),
    ] = None,
    every: Annotated[
        float, typer.Option(min=0.0, metavar="SECONDS", help="Pause between two frames.")
    ] = 0.0,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the captions and print them.")
    ] = False,
    timeout: Annotated[
        float,
        typer.Option(
            min=0.1, metavar="SECONDS", help="How long --wait waits after the last frame."
        ),
    ] = 120.0,
) -> None:
    """Send image files as frames of a camera.

    Prints the job id of each frame, or with --wait its caption. Follow a job on
    <base>/<camera>/status.
    """
    if not is_camera_id(camera):
        raise typer.BadParameter(f"{camera!r} cannot name a camera", param_hint="--camera")
    frames = {str(uuid4()): path for path in _image_files(paths)}
    settings = common.settings()
    tasks = [
        *map(_read_task, task or ()),
        *(read_choose(each).model_dump() for each in choose or ()),
    ]
    make_frame = partial(
        _encode, tasks, camera_id=camera, motion_intensity=intensity, prompt=prompt
    )

    async def publish() -> list[str]:
        topics = Topics(settings.mqtt.base_topic)
        async with connect_newest(settings.mqtt) as (client, _):
            if not wait:
                await _send(client, topics.frame(camera), frames, make_frame, every)
                typer.echo("\n".join(frames))
                return []
            await client.subscribe([(topics.status(camera), 1), (topics.caption(camera), 1)])
            waiting = dict(frames)
            captions = asyncio.create_task(
                _print_captions(client, topics.caption(camera), waiting), name="captions"
            )
            await _send(client, topics.frame(camera), frames, make_frame, every)
            await asyncio.wait({captions}, timeout=timeout)
            if captions.done():
                return captions.result()
            captions.cancel()
            names = ", ".join(path.name for path in waiting.values())
            return [f"no caption within {timeout:g} s for {names}; is the service running?"]

    problems = asyncio.run(publish())
    if problems:
        raise ServiceError("; ".join(problems))


def _read_task(text: str) -> dict[str, Any] | str:
    """A task in the form of the wire.

    Raises:
        typer.BadParameter: It is none.
    """
    kind, equals, what = text.partition("=")
    try:
        task = json.loads(text) if text.startswith("{") else {kind: what} if equals else text
        Task.model_validate(task)
    except (ValidationError, ValueError) as error:
        raise typer.BadParameter(f"{text!r} is no task", param_hint="--task") from error
    return task


def _encode(tasks: list[dict[str, Any] | str], **fields: Any) -> bytes:
    """A frame in JSON, with what was said of it and nothing else."""
    content = MotionFrame(**fields).model_dump(mode="json", exclude_none=True)
    return json.dumps(content | ({"tasks": tasks} if tasks else {})).encode()


def _image_files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            images = sorted(file for file in path.iterdir() if file.suffix.lower() in _SUFFIXES)
            if not images:
                raise typer.BadParameter(f"{path} holds no JPEG, PNG or WebP file")
            yield from images
        elif not path.is_file() or not path.stat().st_size:
            raise typer.BadParameter(f"{path} is no file, or empty")
        else:
            yield path


async def _send(
    client: aiomqtt.Client,
    topic: str,
    frames: dict[str, Path],
    make_frame: Callable[..., bytes],
    every_s: float,
) -> None:
    for number, (job_id, path) in enumerate(frames.items()):
        if number and every_s:
            await asyncio.sleep(every_s)
        image = await asyncio.to_thread(path.read_bytes)
        frame = make_frame(
            job_id=job_id, timestamp=datetime.now(UTC), frame_data=base64.b64encode(image).decode()
        )
        await client.publish(topic, frame, qos=1)


async def _print_captions(
    client: aiomqtt.Client, caption_topic: str, waiting: dict[str, Path]
) -> list[str]:
    """Print captions until every frame has its end; return what failed, one sentence each."""
    show_names = len(waiting) > 1
    problems = []
    async for message in client.messages:
        payload = bytes(message.payload)
        if message.topic.value == caption_topic:
            document = ResultDocument.model_validate_json(payload)
            path = waiting.pop(document.job_id, None)
            if path and document.result:
                typer.echo(f"{path.name}: " * show_names + document.result.caption)
        else:
            status = StatusDocument.model_validate_json(payload)
            if status.status.is_final and status.status is not JobStatus.COMPLETED:
                path = waiting.pop(status.job_id or "", None)
                if path:
                    problems.append(f"{path.name}: {status.status}: {status.message}")
        if not waiting:
            break
    return problems
