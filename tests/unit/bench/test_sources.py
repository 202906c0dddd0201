"""The bench of sources measures what it says."""

import json
from pathlib import Path

import pytest

from bench import sources
from bench._clips import make_clip
from bench._frigate import _end
from schemas.frigate import read_event


def test_clip_prints_frames_seconds_and_memory(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = make_clip(tmp_path / "short.mp4", seconds=2.0, size=(320, 180))
    sources.main(["--only", "clip", "--clip", str(path)])
    machine, figures = capfd.readouterr().out.splitlines()
    assert machine.startswith("machine: ")
    assert ": 3 frames in " in figures
    assert figures.endswith(" MiB")


def test_events_of_the_bench_are_read_as_ends_of_different_objects() -> None:
    read = [read_event(json.loads(_end(number))) for number in range(2)]
    assert all(each.is_ended and each.picture_id for each in read)
    assert read[0].id != read[1].id
