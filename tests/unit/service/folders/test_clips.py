import asyncio
import io
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from bench._clips import make_clip
from service.errors import FrameError
from service.folders.clips import clip_frames
from tests.support.checker import until


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov", "avi", "ts"])
async def test_frames_of_a_clip_show_different_moments(tmp_path: Path, suffix: str) -> None:
    frames = await clip_frames(make_clip(tmp_path / f"a.{suffix}"), 3)
    assert len(frames) == 3
    assert sorted(frame.offset_s for frame in frames) == [frame.offset_s for frame in frames]
    pictures = [
        np.asarray(Image.open(io.BytesIO(frame.jpeg)).convert("L"), float) for frame in frames
    ]
    assert pictures[0].shape == (360, 640)
    apart = [np.abs(a - b).mean() for a, b in pairwise(pictures)]
    assert min(apart) > 5


async def test_clip_with_one_keyframe_is_decoded_whole(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", seconds=3, keyframe_every_s=100)
    assert len(await clip_frames(clip, 3)) == 3


async def test_large_pictures_are_made_smaller(tmp_path: Path) -> None:
    [frame] = await clip_frames(make_clip(tmp_path / "a.mp4", seconds=1, size=(2560, 1440)), 1)
    assert Image.open(io.BytesIO(frame.jpeg)).size == (1280, 720)


async def test_cut_transport_stream_gives_what_is_there(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.ts")
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size * 2 // 3])
    assert len(await clip_frames(clip, 2)) == 2


async def test_clip_of_black_pictures_says_so(tmp_path: Path) -> None:
    with pytest.raises(FrameError, match="black"):
        await clip_frames(make_clip(tmp_path / "a.mp4", seconds=1, is_black=True), 3)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.ts", "a.dav", "a.mov"])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no clip" * 1000,
        b"ffconcat version 1.0\nfile 'secret.mp4'\n",
        b"#EXTM3U\nsecret.mp4\n",
    ],
    ids=["empty", "text", "script", "playlist"],
)
async def test_what_is_no_clip_says_so(
    tmp_path: Path, name: str, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script in it must not open the file beside it."""
    monkeypatch.chdir(tmp_path)  # from where a script's paths count
    make_clip(tmp_path / "secret.mp4", seconds=1)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FrameError) as refused:
        await clip_frames(tmp_path / name, 3)
    assert refused.value.code == "bad_file"


async def test_cut_clip_says_so(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4")
    clip.write_bytes(clip.read_bytes()[:-2000])
    with pytest.raises(FrameError, match="cut off"):
        await clip_frames(clip, 3)


async def test_clip_behind_a_link_is_not_read(tmp_path: Path) -> None:
    make_clip(tmp_path / "a.mp4", seconds=1)
    (tmp_path / "b.mp4").symlink_to("a.mp4")
    with pytest.raises(OSError, match="symbolic"):
        await clip_frames(tmp_path / "b.mp4", 3)


async def test_pictures_that_are_too_large_say_so(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.avi", seconds=0.1, size=(8000, 6000), codec="mjpeg")
    with pytest.raises(FrameError, match="8000 x 6000"):
        await clip_frames(clip, 3)


async def test_process_that_reads_a_clip_knows_no_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOONDREAM2MQTT__MQTT__PASSWORD", "secret")
    clip = await asyncio.to_thread(make_clip, tmp_path / "a.mp4")
    reading = asyncio.create_task(clip_frames(clip, 3))
    known: list[dict[str, str]] = []

    def is_seen() -> bool:
        with suppress(psutil.Error):
            children = psutil.Process().children()
            known.extend(
                each.environ() for each in children if "clip_worker" in str(each.cmdline())
            )
        return bool(known)

    await until(is_seen)
    assert await reading
    assert not any(name.startswith("MOONDREAM2MQTT__") for each in known for name in each)
