"""The demonstration as a stranger runs it."""

import re
from pathlib import Path

import pytest

from service.commands import demo
from tests.integration.test_commands import run_command

MODEL = Path(demo.__file__).parents[2] / "demo" / "model" / "model.safetensors"
LINE = re.compile(
    r"(front_door|driveway|backyard|street) +(low|normal|high|critical) +\d+\.\d\d s  drawn: .+"
    r"  said: .+"
)


@pytest.mark.skipif(not MODEL.exists(), reason="the demonstration model is not trained yet")
@pytest.mark.timeout(150)  # the demo gives itself two minutes
async def test_demo_prints_that_many_captions_and_leaves_nothing(tmp_path: Path) -> None:
    words = ("demo", "--frames", "6", "--every", "0.5")
    ended = await run_command(*words, environment={"TMPDIR": str(tmp_path)})
    lines = ended.out.splitlines()
    assert ended.code == 0, ended.err
    assert len(lines) == 6
    assert all(LINE.fullmatch(line) for line in lines)
    assert not leftovers(tmp_path)


def leftovers(folder: Path) -> list[Path]:
    return list(folder.iterdir())
