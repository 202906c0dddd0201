"""A browser without a window, for pictures of the documentation and for tests of the page."""

import io
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image

_PATIENCE_S = 60.0
_NAMES = ("chromium", "chromium-browser", "google-chrome")


def find_browser() -> str:
    """The command of one.

    Raises:
        SystemExit: None is there.
    """
    browser = browser_or_none()
    if browser is None:
        sys.exit(f"a browser is needed: one of {', '.join(_NAMES)}")
    return browser


def browser_or_none() -> str | None:
    """The same for tests, which are skipped without one."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


def photograph(browser: str, url: str, folder: Path, size: tuple[int, int], picture: Path) -> None:
    """Keep what it shows, in 256 colours.

    Args:
        browser: See `find_browser`.
        url: Of the page.
        folder: For what it writes.
        size: Width and height of its window in pixels.
        picture: PNG file to write.
    """
    taken = folder / "taken.png"
    options = [
        "--headless=new",
        "--no-sandbox",  # it looks at nothing but pages of our own
        "--hide-scrollbars",
        "--disable-gpu",
        f"--user-data-dir={folder / 'browser'}",
        f"--window-size={size[0]},{size[1]}",
        "--virtual-time-budget=20000",
        f"--screenshot={taken}",
    ]
    subprocess.run([browser, *options, url], check=True, timeout=_PATIENCE_S, capture_output=True)
    with Image.open(io.BytesIO(taken.read_bytes())) as image:
        image.convert("RGB").quantize(256).save(picture, optimize=True)
