"""Frames of a clip, taken by a process of its own; see `clip_worker.py`."""

import asyncio
import importlib.util
import json
import os
import stat
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from service.engines.child import child_environment
from service.errors import FrameError

_TIMEOUT_S = 180.0
_MAX_SIDE = 1280  # more than the model sees gains nothing
_MOST_BYTES = 64 << 20  # of an answer
_FORMATS = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "matroska",
    ".avi": "avi",
    ".ts": "mpegts",
    ".dav": "dhav",
}


@dataclass(frozen=True, slots=True)
class ClipFrame:
    """One picture of a clip."""

    offset_s: float  #: since its first
    jpeg: bytes


def can_read_clips() -> bool:
    """Whether the `video` extra is installed."""
    return importlib.util.find_spec("av") is not None


def open_file(path: Path) -> int:
    """A descriptor of a file that is nothing else: no link, no pipe, no device.

    Raises:
        OSError: It is not that, or not readable.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("is not a file")
    return descriptor


async def clip_frames(path: Path, num_frames: int) -> list[ClipFrame]:
    """The pictures of a clip that tell most, in order.

    Raises:
        FrameError: `bad_file`; none can be had.
        OSError: The file cannot be read.
    """
    if not can_read_clips():
        raise FrameError("bad_file", "clips need the video extra: moondream2mqtt[video]")
    clip = open_file(path)
    try:
        answer = await _ask(clip, _FORMATS[path.suffix.lower()], num_frames)
    finally:
        os.close(clip)
    return _read(answer)


async def _ask(clip: int, form: str, num_frames: int) -> bytes:
    reader, writer = os.pipe()
    try:
        worker = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "service.folders.clip_worker",
            *(str(each) for each in (clip, writer, form, num_frames, _MAX_SIDE)),
            pass_fds=(clip, writer),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,  # FFmpeg has much to say
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for us
            env=child_environment(),
        )
    except BaseException:
        os.close(reader)
        raise
    finally:
        os.close(writer)
    reading = asyncio.create_task(asyncio.to_thread(_read_all, reader))
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            return await asyncio.shield(reading)
    except TimeoutError:
        raise FrameError("bad_file", f"the clip took more than {_TIMEOUT_S:.0f} s") from None
    finally:
        with suppress(ProcessLookupError):
            worker.kill()
        await worker.wait()
        await asyncio.wait([reading])  # ends, now that nobody writes


def _read_all(descriptor: int) -> bytes:
    with os.fdopen(descriptor, "rb") as pipe:
        return pipe.read(_MOST_BYTES)


def _read(answer: bytes) -> list[ClipFrame]:
    head, _, jpegs = answer.partition(b"\n")
    if not head:
        raise FrameError("bad_file", "the clip took too much time or memory, or is damaged")
    content = json.loads(head)
    if "error" in content:
        raise FrameError("bad_file", f"the clip gives no pictures: {content['error']}")
    frames, start = [], 0
    for offset_s, size in content["frames"]:
        frames.append(ClipFrame(offset_s, jpegs[start : start + size]))
        start += size
    return frames
