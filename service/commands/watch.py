"""`watch`: a running service as seen from its broker."""

import asyncio
import signal
from typing import Annotated

import typer
from rich.console import Console

from schemas.frame import is_camera_id
from schemas.result import Result, ResultDocument
from schemas.status import StatusDocument
from service.commands.follow import WITH_IMAGES, WITHOUT_IMAGES, BrokerLost, follow_on
from service.commands.live.tty import Terminal
from service.commands.options import CommonOptions, talks_to_broker
from service.commands.show import graphics_of, show
from service.commands.terminal import one_line
from service.commands.view import View
from service.settings import Settings

_ALL = "+"
_HINT_AFTER_S = 3.0


@talks_to_broker
def run(
    common: CommonOptions,
    camera: Annotated[
        str, typer.Option(metavar="ID", help="Only this camera; + stands for all of them.")
    ] = _ALL,
    lines: Annotated[
        bool,
        typer.Option(
            "--lines",
            help="One line per caption in place of the live view; also where the output is no "
            "terminal.",
        ),
    ] = False,
    no_images: Annotated[
        bool,
        typer.Option(
            "--no-images",
            help="No pictures in the live view. With them: those of cameras with publish_image, "
            "as the terminal can.",
        ),
    ] = False,
) -> None:
    """Follow captions, queue and rates of a running service.

    Shows the newest caption of each camera and the service's own figures; ends with q or Ctrl-C.
    A broker that goes away is waited for.
    """
    if camera != _ALL and not is_camera_id(camera):
        raise typer.BadParameter(f"{camera!r} cannot name a camera", param_hint="--camera")
    settings = common.settings()
    console = Console()
    if lines or not console.is_terminal or console.is_dumb_terminal:
        asyncio.run(_print_lines(settings, camera))
        return
    try:
        asyncio.run(_show(settings, camera, console, with_images=not no_images))
    except asyncio.CancelledError as error:
        raise typer.Exit(128 + signal.SIGTERM) from error


async def _print_lines(settings: Settings, camera: str) -> None:
    hint = asyncio.create_task(_hint(settings, camera), name="hint")
    try:
        async for document in follow_on(settings.mqtt, camera):
            if isinstance(document, ResultDocument | StatusDocument):
                hint.cancel()
            if isinstance(document, BrokerLost):
                typer.echo(f"trying again: {one_line(document.reason)}", err=True)
            elif isinstance(document, ResultDocument) and document.result:
                typer.echo(_line(document, document.result))
    finally:
        hint.cancel()


def _line(document: ResultDocument, result: Result) -> str:
    camera_id, priority = one_line(document.camera_id), result.model_info.priority.wire
    return f"{document.timestamp.isoformat()} {camera_id} {priority} {one_line(result.caption)}"


async def _hint(settings: Settings, camera: str) -> None:
    """Say so when nothing comes at all; a retained caption would come at once."""
    await asyncio.sleep(_HINT_AFTER_S)
    whose = "any camera" if camera == _ALL else f"camera {camera}"
    base = settings.mqtt.base_topic
    typer.echo(f"nothing of {whose} below {base}/ yet; waiting, Ctrl-C ends", err=True)


async def _show(settings: Settings, camera: str, console: Console, *, with_images: bool) -> None:
    task = asyncio.current_task()
    for each in (signal.SIGTERM, signal.SIGHUP):  # the terminal is put back as it was
        asyncio.get_running_loop().add_signal_handler(each, lambda: task and task.cancel())
    terminal = Terminal.standard()
    graphics = graphics_of(console, terminal, with_images=with_images)
    view = View(
        f"{settings.mqtt.host}:{settings.mqtt.port}/{settings.mqtt.base_topic}",
        camera=camera,
        with_images=graphics.can_draw,
        footer=["q quits, p pauses"],
    )
    names = WITH_IMAGES if graphics.can_draw else WITHOUT_IMAGES
    documents = follow_on(settings.mqtt, camera, names)
    await show(view, documents, console, terminal, graphics)
