"""`demo`: a broker, the service with the demonstration model and its page, four drawn cameras.

Everything lives in one temporary folder and ends with the command. The way of a frame is the real
one: MQTT, store, heap, engine process, MQTT.
"""

import asyncio
import shutil
import signal
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from rich.console import Console

from broker.embedded import EmbeddedBroker
from broker.errors import EmbeddedBrokerError
from demo.camera import BOXED, default_cameras, run_camera
from gateway.server import listen
from schemas.camera import CameraSettings
from schemas.frame import Task
from schemas.result import Result, ResultDocument
from schemas.status import BridgeInfo
from service import logs
from service.app import serve
from service.commands.client import connect
from service.commands.follow import WITH_IMAGES, Connected, Document, follow
from service.commands.live.graphics import Graphics
from service.commands.live.tty import Terminal
from service.commands.options import CommonOptions, reads_settings
from service.commands.show import graphics_of, show
from service.commands.terminal import one_line
from service.commands.view import View
from service.errors import ServiceError
from service.http_settings import HttpSettings
from service.settings import MqttSettings, Settings

_LIMIT_S = 120.0
_MOST_PUBLISHED = 1000
_BANNER = (
    "Demonstration: drawn cameras, and a very small model of Moondream2's architecture trained on "
    "such drawings.\nIt knows nothing else; for real cameras see README.md. Broker: {broker}."
)
_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - read, not listened on


@reads_settings
def run(
    common: CommonOptions,
    frames: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Print one line per caption and end after N of them, or fail after two minutes. "
            "Without it: a live view, until q or Ctrl-C, or lines where the output is no terminal.",
        ),
    ] = None,
    every: Annotated[
        float,
        typer.Option(
            min=0.05, max=86_400, metavar="SECONDS", help="Pause of a camera between frames."
        ),
    ] = 2.0,
    no_images: Annotated[
        bool, typer.Option("--no-images", help="No pictures in the live view.")
    ] = False,
) -> None:
    """Show the whole service at work on drawn cameras, with nothing to set up.

    A line holds camera, priority, seconds from publishing to caption, what the camera really drew,
    and the caption. The live page shows the same; its address is printed at the start. Broker,
    model and data_dir of the settings are not used, and no ./config.yaml.
    """
    logs.configure("error" if frames is None else "warning", "text")
    try:
        asyncio.run(_Demo(common.settings(only_named=True), every, not no_images).run(frames))
    except EmbeddedBrokerError as error:
        raise ServiceError(str(error)) from error
    except asyncio.CancelledError as error:
        raise typer.Exit(128 + signal.SIGTERM) from error


class _Demo:
    """One run of the demonstration.

    Args:
        settings: All but broker, model name and folders.
        every_s: Between two frames of a camera.
        with_images: Show pictures where the terminal can.
    """

    def __init__(self, settings: Settings, every_s: float, with_images: bool) -> None:
        self._settings = settings
        self._every_s = every_s
        self._console = Console()
        self._terminal = Terminal.standard()
        self._with_images = with_images
        self._graphics = Graphics()
        self._mqtt = MqttSettings()
        self._http = on_this_machine(settings.http)
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
                self._mqtt = MqttSettings(
                    host=broker.host, port=broker.port, protocol=broker.protocol
                )
                self._introduce(broker.label)
                is_live = frames is None and self._console.is_terminal
                is_live = is_live and not self._console.is_dumb_terminal
                if is_live:
                    self._graphics = graphics_of(
                        self._console, self._terminal, with_images=self._with_images
                    )
                stop = asyncio.Event()
                service = asyncio.create_task(
                    serve(self._changed(folder), stop=stop, on_ready=self._is_ready.set)
                )
                shown = asyncio.create_task(self._show() if is_live else self._print(frames))
                film = asyncio.create_task(self._film())
                try:
                    await _first_of(service, shown, film)
                finally:
                    shown.cancel()
                    film.cancel()
                    stop.set()
                    await asyncio.gather(shown, film, return_exceptions=True)
                    await service

    def _introduce(self, broker: str) -> None:
        banner = _BANNER.format(broker=broker) + "\nSee all of it from another terminal:"
        Console(stderr=True).print(banner, style="dim", highlight=False)
        typer.echo("\n".join(join_lines(self._mqtt)), err=True)
        if self._http.enabled:
            typer.echo(f"The same as a page: {page_url(self._http)}", err=True)

    def _changed(self, folder: Path) -> Settings:
        settings = self._settings
        model = settings.model.model_copy(update={"name": str(files("demo") / "model")})
        if model.dtype == "auto":  # the same words on every processor
            model = model.model_copy(update={"dtype": "float32"})
        queue = settings.queue.model_copy(update={"shutdown_timeout": 1.0})
        changed = {"mqtt": self._mqtt, "data_dir": folder / "data", "stats_interval": 2.0}
        changed["http"] = self._http
        changed["cameras"] = self._cameras()
        return settings.model_copy(update={**changed, "model": model, "queue": queue})

    def _cameras(self) -> dict[str, CameraSettings]:
        """Those of the settings; where pictures are shown, with boxes around what is known."""
        cameras = dict(self._settings.cameras)
        if not self._graphics.can_draw and not self._http.enabled:
            return cameras
        boxed = CameraSettings(tasks=tuple(Task.model_validate(task) for task in BOXED))
        for each in default_cameras():
            camera = cameras.get(each.camera_id, boxed)
            if self._graphics.can_draw:
                camera = camera.model_copy(update={"publish_image": True})
            cameras[each.camera_id] = camera
        return cameras

    async def _print(self, frames: int | None) -> None:
        num_printed = 0
        try:
            async with asyncio.timeout(None if frames is None else _LIMIT_S):
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
        published = self._published.pop(document.job_id, None)
        if published is None:  # somebody else's frame
            seconds = result.queue_time + result.processing_time
        else:
            seconds = time.monotonic() - published
        priority = result.model_info.priority.wire
        truth = document.metadata.get("truth")
        drawn = "" if truth is None else f"drawn: {one_line(str(truth))}  "
        return (
            f"{one_line(document.camera_id):<10}  {priority:<8}  {seconds:5.2f} s  {drawn}"
            f"said: {one_line(result.caption)}"
        )

    async def _show(self) -> None:
        view = View(
            "moondream2mqtt demo",
            note="truth",
            with_images=self._graphics.can_draw,
            footer=[
                *([f"as a page: {page_url(self._http)}"] if self._http.enabled else []),
                "q quits, p pauses; see all of it from another terminal:",
                *join_lines(self._mqtt),
            ],
        )
        await show(view, self._documents(), self._console, self._terminal, self._graphics)

    async def _documents(self) -> AsyncIterator[Document]:
        """What the service publishes.

        Raises:
            ServiceError: The model cannot be loaded.
        """
        async with connect(self._mqtt) as client:
            yield Connected()
            async for document in follow(client, self._mqtt, names=WITH_IMAGES):
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
        while len(self._published) > _MOST_PUBLISHED:  # duplicates never come back
            del self._published[next(iter(self._published))]


def page_url(http: HttpSettings) -> str:
    """Where a browser of this machine finds the live page."""
    host = "127.0.0.1" if http.host in _WILDCARDS else http.host
    return f"http://[{host}]:{http.port}/" if ":" in host else f"http://{host}:{http.port}/"


def on_this_machine(http: HttpSettings) -> HttpSettings:
    """The gateway's settings, on unless they say off; on any free port where theirs is taken."""
    if "enabled" in http.model_fields_set and not http.enabled:
        return http
    for port in (http.port, 0):
        with suppress(OSError), listen(http.host, port) as listener:
            return http.model_copy(update={"enabled": True, "port": listener.getsockname()[1]})
    return http.model_copy(update={"enabled": False})  # the address is not this machine's


def join_lines(mqtt: MqttSettings) -> list[str]:
    """A command that shows what is published, of those there are; lines fit in 60 columns."""
    if shutil.which("mosquitto_sub") is None:
        return [f"moondream2mqtt watch --host {mqtt.host} --port {mqtt.port}"]
    base = mqtt.base_topic
    return [
        f"mosquitto_sub -p {mqtt.port} -v -t '{base}/#' \\",
        f"  -T '{base}/+/frame' -T '{base}/+/image'",
    ]


def _cancel(task: asyncio.Task[Any] | None) -> None:
    if task is not None:
        task.cancel()


async def _first_of(*tasks: asyncio.Task[None]) -> None:
    """Wait until one of them ends, and end as it did."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
