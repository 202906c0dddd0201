"""The Python programs of pages that tell how to use a client, run as a reader would."""

import asyncio
import sys
from pathlib import Path

from tests.docs.pages import blocks
from tests.docs.reference import ROOT


async def run_page(name: str, url: str, folder: Path) -> str:
    """What the program of a page prints.

    Args:
        name: Of the file below `docs/how-to`.
        url: Of the gateway, in place of the page's address.
        folder: With the files that the program names.
    """
    page = ROOT / "docs" / "how-to" / name
    [code] = [each.code for each in blocks(page) if each.language == "python"]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code.replace("http://127.0.0.1:8808", url)),
        stdout=asyncio.subprocess.PIPE,
        cwd=folder,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0
    return said.decode()
