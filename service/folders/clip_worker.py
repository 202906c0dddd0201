"""The process that takes frames from one clip, which may be anything and may kill it.

    python -m service.folders.clip_worker CLIP_FD ANSWER_FD FORMAT NUM_FRAMES MAX_SIDE

The container's format is forced: left to itself, FFmpeg takes a `.mp4` that holds a script for a
list of other files, and opens them. Frames are chosen among keyframes, which are cheap to decode;
a clip with fewer than three is decoded whole. Black and flat pictures are passed over; of the
others those are taken that differ most.

The answer is a line of JSON and the JPEGs one after the other; see `clips.py`.
"""

import io
import json
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, BinaryIO

import av
import numpy as np
import numpy.typing as npt

_MOST_BYTES = 768 << 20  # of memory; a clip of 1080p takes 90 MB, one of 4K 250
_MOST_CPU_S = 90
_MOST_PIXELS = 40_000_000
_MOST_MEASURED = 3_000  # frames
_FEWEST_KEYFRAMES = 3
_GREY = (64, 36)
_BLACK, _FLAT = 12.0, 4.0  # mean and deviation of what is passed over, of 255
_SAME = 2.0  # mean difference of what shows nothing new
_QUALITY = 90

Grey = npt.NDArray[np.float32]


class ClipError(Exception):
    """The clip gives no frames; the text says why."""


def main() -> None:
    """See the module."""
    clip_fd, answer_fd, form, num_frames, max_side = sys.argv[1:]
    _limit()
    jpegs: list[bytes] = []
    try:
        with os.fdopen(int(clip_fd), "rb") as clip:
            taken = list(_take(clip, form, int(num_frames), int(max_side)))
        jpegs = [jpeg for _, jpeg in taken]
        head: dict[str, Any] = {"frames": [[offset, len(jpeg)] for offset, jpeg in taken]}
    except ClipError as error:
        head = {"error": str(error)}
    except MemoryError:
        head = {"error": "it needs too much memory"}
    except (av.FFmpegError, ValueError, OverflowError, OSError) as error:
        head = {"error": f"it is damaged, cut off, or no clip of its kind ({type(error).__name__})"}
    with os.fdopen(int(answer_fd), "wb") as answer:
        answer.write(json.dumps(head).encode() + b"\n")
        for jpeg in jpegs:
            answer.write(jpeg)


def _limit() -> None:
    """Bound what a clip can cost; where the system cannot, the parent's clock is left."""
    os.nice(10)  # a camera's frame does not wait for an old clip
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_DATA, (_MOST_BYTES, _MOST_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (_MOST_CPU_S, _MOST_CPU_S))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _take(
    clip: BinaryIO, form: str, num_frames: int, max_side: int
) -> Iterator[tuple[float, bytes]]:
    is_whole = False
    measured = _measure(clip, form, is_whole=False)
    if len(measured) < _FEWEST_KEYFRAMES:
        is_whole, measured = True, _measure(clip, form, is_whole=True)
    chosen = set(choose([grey for _, grey in measured], num_frames))
    if not chosen:
        raise ClipError(
            "all its pictures are black or of one colour" if measured else "it is empty"
        )
    first = measured[0][0]
    for number, (time, frame) in enumerate(_decode(clip, form, is_whole=is_whole)):
        if number in chosen:
            yield max(0.0, time - first), _jpeg(frame, max_side)
        if number >= max(chosen):
            return


def _measure(clip: BinaryIO, form: str, *, is_whole: bool) -> list[tuple[float, Grey]]:
    return [(time, _grey(frame)) for time, frame in _decode(clip, form, is_whole=is_whole)]


def _decode(clip: BinaryIO, form: str, *, is_whole: bool) -> Iterator[tuple[float, Any]]:
    """Frames with their time in seconds; what is lost in the middle is passed over."""
    clip.seek(0)
    with av.open(clip, "r", format=form, metadata_errors="replace") as container:
        if not container.streams.video:
            raise ClipError("it has no pictures")
        stream = container.streams.video[0]
        context = stream.codec_context
        if context.width * context.height > _MOST_PIXELS:
            raise ClipError(f"its pictures have {context.width} x {context.height} pixels")
        context.thread_count = 1
        context.skip_frame = "DEFAULT" if is_whole else "NONKEY"
        num_left = _MOST_MEASURED
        frames = container.decode(stream)
        while num_left:
            try:
                frame = next(frames)
            except StopIteration:
                return
            except av.InvalidDataError:
                if num_left == _MOST_MEASURED:
                    raise
                return  # the end is cut off: what came before is good
            num_left -= 1
            yield frame.time or 0.0, frame


def _grey(frame: Any) -> Grey:
    small = frame.reformat(width=_GREY[0], height=_GREY[1], format="gray")
    grey: Grey = small.to_ndarray().astype(np.float32)
    return grey


def choose(greys: list[Grey], num_frames: int) -> list[int]:
    """Which frames to take: those that differ most, in order of time.

    Args:
        greys: Each frame, small and grey.
        num_frames: At most.
    """
    usable = [i for i, grey in enumerate(greys) if grey.mean() > _BLACK and grey.std() > _FLAT]
    if not usable:
        return []
    usual = np.median(np.stack([greys[i] for i in usable]), axis=0)
    distances = {i: _difference(greys[i], usual) for i in usable}
    chosen: list[int] = []
    while distances and len(chosen) < num_frames:
        best = max(distances, key=lambda i: (distances[i], -i))
        if chosen and distances[best] < _SAME:
            break
        chosen.append(best)
        del distances[best]
        for i in distances:
            apart = _difference(greys[i], greys[best])
            distances[i] = apart if len(chosen) == 1 else min(distances[i], apart)
    return sorted(chosen)


def _difference(one: Grey, other: Grey) -> float:
    return float(np.abs(one - other).mean())


def _jpeg(frame: Any, max_side: int) -> bytes:
    image = frame.to_image()
    image.thumbnail((max_side, max_side))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


if __name__ == "__main__":
    main()
