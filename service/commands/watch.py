"""`watch`: a running service as seen from its broker."""

import asyncio
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live

from schemas.result import ResultDocument
from service.commands.client import connect
from service.commands.follow import follow
from service.commands.options import CommonOptions, talks_to_broker
from service.commands.terminal import one_line
from service.commands.view import REFRESHES_PER_SECOND, View
from service.settings import Settings


@talks_to_broker
def run(
    common: CommonOptions,
    camera: Annotated[
        str, typer.Option(metavar="ID", help="Only this camera; + stands for all of them.")
    ] = "+",
    lines: Annotated[
        bool,
        typer.Option(
            "--lines",
            help="One line per caption in place of the live view; also where the output is no "
            "terminal.",
        ),
    ] = False,
) -> None:
    """Follow captions, queue and rates of a running service.

    Shows the newest caption of each camera and the service's own figures; ends with Ctrl-C.
    """
    settings = common.settings()
    console = Console()
    if lines or not console.is_terminal:
        asyncio.run(_print_lines(settings, camera))
    else:
        asyncio.run(_show(settings, camera, console))


async def _print_lines(settings: Settings, camera: str) -> None:
    async with connect(settings.mqtt) as client:
        async for document in follow(client, settings.mqtt, camera):
            if isinstance(document, ResultDocument) and document.result:
                priority = document.result.model_info.priority.wire
                text = one_line(document.result.caption)
                typer.echo(
                    f"{document.timestamp.isoformat()} {document.camera_id} {priority} {text}"
                )


async def _show(settings: Settings, camera: str, console: Console) -> None:
    view = View(f"{settings.mqtt.host}:{settings.mqtt.port}/{settings.mqtt.base_topic}")
    screen = Live(
        console=console,
        screen=True,
        get_renderable=view.render,
        refresh_per_second=REFRESHES_PER_SECOND,
    )
    with screen:
        async with connect(settings.mqtt) as client:
            async for document in follow(client, settings.mqtt, camera):
                view.feed(document)
