"""`demo`: a broker, the service with the demonstration model, and four drawn cameras.

Everything lives in one temporary folder and ends with the command. The way of a frame is the real
one: MQTT, store, heap, engine process, MQTT.
"""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live

from broker.embedded import EmbeddedBroker
from broker.errors import EmbeddedBrokerError
from demo.camera import default_cameras, run_camera
from schemas.result import Result, ResultDocument
from schemas.status import BridgeInfo
from service import logs
from service.app import serve
from service.commands.client import connect
from service.commands.follow import Document, follow
from service.commands.options import CommonOptions, reads_settings
from service.commands.terminal import one_line
from service.commands.view import REFRESHES_PER_SECOND, View
from service.errors import ServiceError
from service.settings import MqttSettings, Settings

_LIMIT_S = 120.0
_BANNER = (
    "Demonstration: drawn cameras, and a very small model of Moondream2's architecture trained on "
    "such drawings.\nIt knows nothing else; for real cameras see README.md. Broker: {broker}."
)


@reads_settings
def run(
    common: CommonOptions,
    frames: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Print one line per caption and end after N of them, or fail after two minutes. "
            "Without it: a live view, until Ctrl-C.",
        ),
    ] = None,
    every: Annotated[
        float, typer.Option(min=0.05, metavar="SECONDS", help="Pause of a camera between frames.")
    ] = 2.0,
) -> None:
    """Show the whole service at work on drawn cameras, with nothing to set up.

    A line holds camera, priority, seconds from publishing to caption, the caption, and what the
    camera really drew. Broker, model and data_dir of the settings are not
    used, and no ./config.yaml.
    """
    logs.configure("error" if frames is None else "warning", "text")
    try:
        asyncio.run(_Demo(common.settings(only_named=True), every).run(frames))
    except EmbeddedBrokerError as error:
        raise ServiceError(str(error)) from error
    except asyncio.CancelledError as error:
        raise typer.Exit(128 + signal.SIGTERM) from error


class _Demo:
    """One run of the demonstration.

    Args:
        settings: All but broker, model name and folders.
        every_s: Between two frames of a camera.
    """

    def __init__(self, settings: Settings, every_s: float) -> None:
        self._settings = settings
        self._every_s = every_s
        self._mqtt = MqttSettings()
        self._published: dict[str, float] = {}  # job id: when, on the monotonic clock
        self._is_ready = asyncio.Event()

    async def run(self, frames: int | None) -> None:
        """Run until `frames` captions were shown; None runs until cancelled.

        Raises:
            ServiceError: The captions did not come in time, or a part failed.
        """
        for each in (signal.SIGTERM, signal.SIGHUP):  # a closed terminal leaves no broker behind
            asyncio.get_running_loop().add_signal_handler(each, _cancel, asyncio.current_task())
        with TemporaryDirectory(prefix="moondream2mqtt-demo-") as name:
            folder = Path(name)
            async with EmbeddedBroker(folder / "broker") as broker:
                Console(stderr=True).print(_BANNER.format(broker=broker.label), style="dim")
                self._mqtt = MqttSettings(
                    host=broker.host, port=broker.port, protocol=broker.protocol
                )
                stop = asyncio.Event()
                service = asyncio.create_task(
                    serve(self._changed(folder), stop=stop, on_ready=self._is_ready.set)
                )
                show = asyncio.create_task(self._show() if frames is None else self._print(frames))
                film = asyncio.create_task(self._film())
                try:
                    await _first_of(service, show, film)
                finally:
                    show.cancel()
                    film.cancel()
                    stop.set()
                    await asyncio.gather(show, film, return_exceptions=True)
                    await service

    def _changed(self, folder: Path) -> Settings:
        settings = self._settings
        model = settings.model.model_copy(update={"name": str(files("demo") / "model")})
        queue = settings.queue.model_copy(update={"shutdown_timeout": 1.0})
        changed = {"mqtt": self._mqtt, "data_dir": folder / "data", "stats_interval": 2.0}
        return settings.model_copy(update={**changed, "model": model, "queue": queue})

    async def _print(self, frames: int) -> None:
        num_printed = 0
        try:
            async with asyncio.timeout(_LIMIT_S):
                async for document in self._documents():
                    if isinstance(document, ResultDocument) and document.result:
                        typer.echo(self._line(document, document.result))
                        num_printed += 1
                    if num_printed == frames:
                        return
        except TimeoutError as error:
            raise ServiceError(
                f"{num_printed} of {frames} captions within {_LIMIT_S:g} s"
            ) from error

    def _line(self, document: ResultDocument, result: Result) -> str:
        seconds = time.monotonic() - self._published.pop(document.job_id)
        priority = result.model_info.priority.wire
        return (
            f"{document.camera_id:<10}  {priority:<8}  {seconds:5.2f} s  {one_line(result.caption)}"
            f"  (drawn: {document.metadata['truth']})"
        )

    async def _show(self) -> None:
        view = View("moondream2mqtt demo", note="truth")
        refreshed = REFRESHES_PER_SECOND
        with Live(screen=True, get_renderable=view.render, refresh_per_second=refreshed):
            async for document in self._documents():
                view.feed(document)

    async def _documents(self) -> AsyncIterator[Document]:
        """What the service publishes.

        Raises:
            ServiceError: The model cannot be loaded.
        """
        async with connect(self._mqtt) as client:
            async for document in follow(client, self._mqtt):
                if isinstance(document, BridgeInfo) and document.model.state == "failed":
                    raise ServiceError(f"model: {document.model.message}")
                yield document

    async def _film(self) -> None:
        """Let all cameras run, once their frames need not wait for the model to load."""
        await self._is_ready.wait()
        mqtt = self._mqtt
        async with asyncio.TaskGroup() as cameras:
            for camera in default_cameras():
                filming = run_camera(
                    camera,
                    mqtt.host,
                    mqtt.port,
                    mqtt.base_topic,
                    frames=None,
                    every=self._every_s,
                    on_publish=self._note_publishing,
                )
                cameras.create_task(filming, name=f"camera {camera.camera_id}")

    def _note_publishing(self, job_id: str) -> None:
        self._published[job_id] = time.monotonic()


def _cancel(task: asyncio.Task[Any] | None) -> None:
    if task is not None:
        task.cancel()


async def _first_of(*tasks: asyncio.Task[None]) -> None:
    """Wait until one of them ends, and end as it did."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
