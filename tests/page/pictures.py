"""The picture of the live page in the README, and on demand all sizes of it: `make pictures`.

The service is real and so is what it says, of the demonstration's cameras and with its model.
"""

import asyncio
import io
import os
import sys
import tempfile
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.async_api import Browser, ViewportSize, async_playwright, expect

from broker.embedded import EmbeddedBroker
from demo.camera import BOXED, default_cameras, run_camera
from service.app import serve
from service.settings import MqttSettings, Settings
from tests.docs.reference import ROOT
from tests.support.browser import find_browser
from tests.support.free_port import free_port

_PICTURE = ROOT / "docs" / "live-page.png"
_SIZES = {
    "phone": ViewportSize(width=390, height=844),
    "desk": ViewportSize(width=1440, height=900),
    "wall": ViewportSize(width=1920, height=1080),
    "readme": ViewportSize(width=1240, height=800),
}
_Theme = Literal["light", "dark"]
_THEMES: tuple[_Theme, ...] = ("light", "dark")
_PARTS = {"cameras": "#/", "camera": "#/camera/front_door", "wall": "#/wall"}
_NUM_FRAMES = 24  # of each camera
_SHOWN_AFTER = 14
_EVERY_S = 1.2
_PATIENCE_S = 90.0


def main() -> None:
    """Make it; with a folder as argument, pictures of all sizes and parts, light and dark, there.

    Raises:
        SystemExit: There is no browser.
    """
    browser = find_browser()
    os.chdir(ROOT)
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pictures-") as name:
        asyncio.run(_run(Path(name), browser, folder))


async def _run(scratch: Path, program: str, folder: Path | None) -> None:
    """Let the cameras run, and look."""
    async with EmbeddedBroker(scratch / "broker") as broker, asyncio.timeout(_PATIENCE_S * 3):
        settings = _settings(scratch, broker.port)
        stop, is_ready = asyncio.Event(), asyncio.Event()
        service = asyncio.create_task(serve(settings, stop=stop, on_ready=is_ready.set))
        try:
            await is_ready.wait()
            film = asyncio.create_task(_film(settings.mqtt))
            async with async_playwright() as playwright:
                browser = await playwright.chromium.launch(
                    executable_path=program, args=["--no-sandbox"]
                )
                await _look(browser, f"http://127.0.0.1:{settings.http.port}/", folder)
                await browser.close()
            film.cancel()
            await asyncio.gather(film, return_exceptions=True)
        finally:
            stop.set()
            await service


def _settings(scratch: Path, port: int) -> Settings:
    cameras = {
        each.camera_id: {"tasks": list(BOXED), "location": each.location}
        for each in default_cameras()
    }
    return Settings(
        mqtt={"port": port},
        data_dir=scratch / "data",
        model={"name": "demo/model", "device": "cpu"},  # as it is shown
        homeassistant={"enabled": False},
        stats_interval=1,
        http={"enabled": True, "port": free_port()},
        cameras=cameras,
    )


async def _film(mqtt: MqttSettings) -> None:
    async with asyncio.TaskGroup() as running:
        for each in default_cameras():
            filming = run_camera(
                each, mqtt.host, mqtt.port, mqtt.base_topic, frames=_NUM_FRAMES, every=_EVERY_S
            )
            running.create_task(filming)


async def _look(browser: Browser, url: str, folder: Path | None) -> None:
    await _photograph(browser, url, "readme", "light", _PICTURE, _SHOWN_AFTER * _EVERY_S)
    if folder is None:
        return
    for theme in _THEMES:
        for size in ("phone", "desk", "wall"):
            for part, where in _PARTS.items():
                if (part == "wall") != (size == "wall"):
                    continue
                name = f"{size}-{part}-{theme}.png"
                await _photograph(browser, url + where, size, theme, folder / name, 2.0)


async def _photograph(
    browser: Browser, url: str, size: str, theme: _Theme, picture: Path, after_s: float
) -> None:
    """Keep what is shown after some seconds, in 256 colours."""
    context = await browser.new_context(viewport=_SIZES[size], color_scheme=theme)
    page = await context.new_page()
    await page.goto(url)
    await expect(page.locator("#state")).to_have_text("Running")
    await asyncio.sleep(after_s)
    await expect(page.locator(".picture:not(.is-empty)").first).to_be_visible()
    with Image.open(io.BytesIO(await page.screenshot())) as image:
        colours = image.convert("RGB").quantize(256, kmeans=3, dither=Image.Dither.NONE)
        colours.save(picture, optimize=True)
    await context.close()


if __name__ == "__main__":
    main()
