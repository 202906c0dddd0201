"""The pictures of README: the live view, and a caption with its boxes. `make pictures`.

The service is real and so is what it says, of the demonstration's cameras and with its model.
"""

import asyncio
import base64
import html
import io
import os
import re
import tempfile
from pathlib import Path
from string import Template

from PIL import Image
from rich.console import Console
from rich.text import Text

from broker.embedded import EmbeddedBroker
from broker.topics import Topics
from demo.camera import SyntheticCamera, default_cameras, run_camera
from schemas.result import ResultDocument
from schemas.status import Stats, StatusDocument
from service.app import serve
from service.commands.client import connect
from service.commands.follow import WITH_IMAGES, follow
from service.commands.live.frame import Place
from service.commands.view import View
from service.settings import Settings
from tests.docs.reference import ROOT
from tests.support.browser import find_browser, photograph

_LIVE_VIEW = ROOT / "docs" / "live-view.png"
_CAPTION = ROOT / "docs" / "caption.png"
_COLUMNS, _LINES = 100, 28
_CELL = (12.2, 24.4)  # rich's, in pixels
_TASKS = ["caption", {"detect": "person"}, {"detect": "package"}]
_NUM_FRAMES = 4  # of each camera's story: then somebody is there
_EVERY_S = 0.7
_PATIENCE_S = 60.0
_CAMERA = "front_door"
#: rich would have a browser fetch it.
_FONT = re.compile(r"@font-face \{.*?\}", re.DOTALL)
_PAGE = Template("""<meta charset="utf-8"><body style="margin: 0; background: #292929">
<img src="data:image/jpeg;base64,$image" width="$width" height="$height" style="display: block">
<p style="margin: 0; padding: 14px 16px; font: 17px/1.4 sans-serif; color: #eee">$caption</p>""")
_TEXT_HEIGHT = 76


def main() -> None:
    """Make them.

    Raises:
        SystemExit: There is no browser.
    """
    browser = find_browser()
    os.chdir(ROOT)
    with tempfile.TemporaryDirectory(prefix="pictures-") as name:
        folder = Path(name)
        screen, caption, image = asyncio.run(_run(folder))
        _photograph_screen(browser, folder, screen)
        _photograph_caption(browser, folder, caption, image)


async def _run(folder: Path) -> tuple[str, str, bytes]:
    """Let the cameras run; returns the live view as SVG, and a caption with its picture."""
    cameras = default_cameras()
    async with EmbeddedBroker(folder / "broker") as broker:
        settings = _settings(folder, broker.port, cameras)
        stop, is_ready = asyncio.Event(), asyncio.Event()
        service = asyncio.create_task(serve(settings, stop=stop, on_ready=is_ready.set))
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await is_ready.wait()
                view = await _watch(settings, cameras)
                return _screen(view), *await _newest(settings)
        finally:
            stop.set()
            await service


def _settings(folder: Path, port: int, cameras: list[SyntheticCamera]) -> Settings:
    asked = {"publish_image": True, "tasks": _TASKS}
    return Settings(
        mqtt={"port": port},
        data_dir=folder / "data",
        model={"name": "demo/model", "device": "cpu"},  # as it is shown
        homeassistant={"enabled": False},
        stats_interval=1,
        cameras={camera.camera_id: asked for camera in cameras},
    )


async def _watch(settings: Settings, cameras: list[SyntheticCamera]) -> View:
    """Feed a view until all frames have ended and the service has counted them."""
    view = View("moondream2mqtt", with_images=True)
    mqtt = settings.mqtt
    async with connect(mqtt) as client, asyncio.TaskGroup() as running:
        documents = follow(client, mqtt, names=WITH_IMAGES)
        view.feed(await anext(documents))  # subscribed
        for camera in cameras:
            running.create_task(
                run_camera(
                    camera,
                    mqtt.host,
                    mqtt.port,
                    mqtt.base_topic,
                    frames=_NUM_FRAMES,
                    every=_EVERY_S,
                )
            )
        num_left = _NUM_FRAMES * len(cameras)
        async for document in documents:
            view.feed(document)
            if isinstance(document, StatusDocument):
                num_left -= document.status.is_final
            elif num_left == 0 and isinstance(document, Stats):
                break
    return view


def _screen(view: View) -> str:
    """As a terminal shows it that can draw pictures."""
    view.thumbnails.decode_waiting()
    frame = view.compose(_COLUMNS, _LINES)
    console = Console(record=True, width=_COLUMNS, file=io.StringIO(), color_system="truecolor")
    for row in frame.rows:
        console.print(Text(" " * row.indent).append_text(row.text), no_wrap=True)
    screen = _FONT.sub("", console.export_svg(title="moondream2mqtt watch"))
    before, end = screen.rsplit("</g>", 1)
    return before + "".join(map(_drawn, frame.places)) + "</g>" + end


def _drawn(place: Place) -> str:
    """A picture in its cells, of the size that rich's terminal gives them."""
    if place.picture is None:
        return ""
    place.picture.convert("RGB").save(file := io.BytesIO(), "JPEG", quality=90)
    width, height = _CELL
    return (
        f'<image x="{place.column * width}" y="{place.row * height}" '
        f'width="{place.width * width}" height="{place.height * height}" '
        f'preserveAspectRatio="xMinYMin" '
        f'href="data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"/>'
    )


async def _newest(settings: Settings) -> tuple[str, bytes]:
    """The retained caption of a camera and its picture."""
    topics = Topics(settings.mqtt.base_topic)
    wanted = (topics.caption(_CAMERA), topics.image(_CAMERA))
    found: dict[str, bytes] = {}
    async with connect(settings.mqtt) as client:
        await client.subscribe([(topic, 1) for topic in wanted])
        async for message in client.messages:
            found[str(message.topic)] = bytes(message.payload)
            if len(found) == len(wanted):
                break
    document = ResultDocument.model_validate_json(found[wanted[0]])
    assert document.result is not None
    return document.result.caption, found[wanted[1]]


def _photograph_screen(browser: str, folder: Path, screen: str) -> None:
    (page := folder / "screen.svg").write_text(screen, encoding="utf-8")
    found = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', screen)
    assert found is not None
    width, height = (round(float(each)) for each in found.groups())
    photograph(browser, page.as_uri(), folder, (width, height), _LIVE_VIEW)


def _photograph_caption(browser: str, folder: Path, caption: str, image: bytes) -> None:
    with Image.open(io.BytesIO(image)) as opened:
        width, height = opened.size
    content = _PAGE.substitute(
        image=base64.b64encode(image).decode(),
        width=width,
        height=height,
        caption=html.escape(caption),
    )
    (page := folder / "caption.html").write_text(content, encoding="utf-8")
    photograph(browser, page.as_uri(), folder, (width, height + _TEXT_HEIGHT), _CAPTION)


if __name__ == "__main__":
    main()
