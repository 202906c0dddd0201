"""`publish`: image files as frames of a camera, to try a set-up or to caption a folder.

Frames go out in the JSON form, which carries the motion intensity on every MQTT version.
"""

import asyncio
import json
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import typer
from pydantic import ValidationError

from schemas.frame import FrameOptions, MotionFrame, Task, is_camera_id
from service.commands.completion import complete_camera
from service.commands.image_files import read_paths
from service.commands.options import CommonOptions, read_choose, talks_to_broker
from service.commands.sending import Sending
from service.errors import ServiceError

_MOST_QUOTED = 200  # letters of what was typed, in a message


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
        float,
        typer.Option(min=0.0, max=86_400, metavar="SECONDS", help="Pause between two frames."),
    ] = 0.0,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the captions and print them.")
    ] = False,
    timeout: Annotated[
        float,
        typer.Option(
            min=0.1,
            max=86_400,
            metavar="SECONDS",
            help="How long --wait waits after the last frame.",
        ),
    ] = 120.0,
) -> None:
    """Send image files as frames of a camera.

    Prints the job id of each frame, or with --wait its caption, and on stderr what the service says
    meanwhile; several files end with a summary. A file that is no image is refused before anything
    is sent. A picture that was captioned a moment ago has the caption of that time, and exit code
    0. Follow a job on <base>/<camera>/status.
    """
    if not is_camera_id(camera):
        raise typer.BadParameter(f"{camera!r} cannot name a camera", param_hint="--camera")
    settings = common.settings()
    tasks = [
        *map(_read_task, task or ()),
        *(read_choose(each).model_dump() for each in choose or ()),
    ]
    _check(prompt, tasks)
    frames = {str(uuid4()): path for path in read_paths(paths)}
    make_frame = partial(
        _encode, tasks, camera_id=camera, motion_intensity=intensity, prompt=prompt
    )
    sending = Sending(settings.mqtt, camera, frames, make_frame, every)
    if not wait:
        asyncio.run(sending.send_all())
    elif problems := asyncio.run(sending.send_and_wait(timeout)):
        raise ServiceError(problems)


def _read_task(text: str) -> dict[str, Any] | str:
    """A task in the form of the wire.

    Raises:
        typer.BadParameter: It is none.
    """
    kind, equals, what = text.partition("=")
    try:
        task = json.loads(text) if text.startswith("{") else {kind: what} if equals else text
        Task.model_validate(task)
    except (ValidationError, ValueError, RecursionError) as error:
        raise typer.BadParameter(
            f"{text[:_MOST_QUOTED]!r} is no task", param_hint="--task"
        ) from error
    return task


def _check(prompt: str | None, tasks: list[dict[str, Any] | str]) -> None:
    """Refuse what no frame may ask, before anything is sent.

    Raises:
        typer.BadParameter: A text is too long, empty or no UTF-8, or there are too many tasks.
    """
    try:
        FrameOptions.model_validate({"prompt": prompt, **({"tasks": tasks} if tasks else {})})
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        option = "--prompt" if "prompt" in problem["loc"] else "--task"
        reason = problem["msg"].removeprefix("Value error, ")
        raise typer.BadParameter(reason, param_hint=option) from error


def _encode(tasks: list[dict[str, Any] | str], **fields: Any) -> bytes:
    """A frame in JSON, with what was said of it and nothing else."""
    content = MotionFrame(**fields).model_dump(mode="json", exclude_none=True)
    return json.dumps(content | ({"tasks": tasks} if tasks else {})).encode()
