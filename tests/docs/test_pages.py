"""What the pages tell people to do is done: every command, in order, with everything real.

A page that says how to go on from the quickstart begins where that ends. A result that a page shows
is that of the command before it.
"""

import json
import shutil
from pathlib import Path

import pytest

from broker.embedded import BrokerProgram, EmbeddedBroker
from tests.docs.pages import blocks, commands
from tests.docs.reference import ROOT
from tests.docs.sandbox import NOT_RUN, Sandbox
from tests.support.conversation import Conversation

_FROM_NOTHING = [ROOT / "README.md", ROOT / "docs" / "quickstart.md"]
_PAGES = [
    *_FROM_NOTHING,
    ROOT / "docs" / "http.md",
    *sorted((ROOT / "docs" / "how-to").glob("*.md")),
]
_SHELLS = {"bash", "sh"}


def _typed(page: Path) -> list[str]:
    """All commands of a page."""
    shell = [block for block in blocks(page) if block.language in _SHELLS]
    return [command for block in shell for command in commands(block.code)]


def _is_frame(code: str) -> bool:
    return code.startswith("{") and "frame_data" in json.loads(code)


def _caption(document: str) -> tuple[str, str]:
    """Of a result, with its camera."""
    content = json.loads(document)
    return content["camera_id"], content["result"]["caption"]


@pytest.mark.timeout(300)  # seconds on a free machine
@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.stem)
async def test_every_command_of_the_page_works(
    page: Path, tmp_path: Path, mosquitto_program: BrokerProgram
) -> None:
    typed = [each for each in _typed(page) if not each.startswith(tuple(NOT_RUN))]
    if not typed and not any(_is_frame(block.code) for block in blocks(page)):
        pytest.skip("nothing to run")
    for program in ("jq", "curl"):
        if any(f"{program} " in each for each in typed) and shutil.which(program) is None:
            pytest.skip(f"{program} is missing: sudo apt-get install {program}")
    (folder := tmp_path / "clone").mkdir()
    async with (
        EmbeddedBroker(tmp_path / "broker", program=mosquitto_program) as broker,
        Conversation(broker.port, "moondream2mqtt") as talk,
        Sandbox(folder, talk, broker.port, is_set_up=page not in _FROM_NOTHING) as sandbox,
    ):
        if not any(command.startswith("moondream2mqtt serve") for command in typed):
            await sandbox.serve()
        for block in blocks(page):
            if block.language in _SHELLS:
                for command in commands(block.code):
                    await sandbox.run(command)
            elif _is_frame(block.code):
                await sandbox.publish(block.code)
            elif block.language == "json":
                assert _caption(block.code) == _caption(sandbox.out), sandbox.out
            elif block.file is not None:
                sandbox.write(block.file, block.code)


@pytest.mark.parametrize("beginning", NOT_RUN)
def test_what_is_left_out_is_still_there(beginning: str) -> None:
    assert any(each.startswith(beginning) for page in _PAGES for each in _typed(page))
