"""Clips as cameras write them, made by PyAV."""

from pathlib import Path
from typing import Any

import numpy as np


def make_clip(
    path: Path,
    *,
    seconds: float = 6.0,
    size: tuple[int, int] = (640, 360),
    rate: int = 10,
    codec: str = "libx264",
    keyframe_every_s: float = 2.0,
    is_black: bool = False,
) -> Path:
    """A bright box that crosses a pattern."""
    import av  # noqa: PLC0415 - optional

    rng = np.random.default_rng(0)
    tiles = rng.integers(40, 200, (size[1] // 20, size[0] // 20, 3), dtype=np.uint8)
    scene = np.kron(tiles, np.ones((20, 20, 1), np.uint8))
    count = int(seconds * rate)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = (
            *size,
            "yuvj420p" if codec == "mjpeg" else "yuv420p",
        )
        stream.gop_size = int(keyframe_every_s * rate)
        stream.options = {"preset": "ultrafast"} if codec == "libx264" else {}
        for number in range(count):
            picture = np.zeros_like(scene) if is_black else scene.copy()
            left = number * (size[0] - 100) // count
            if not is_black:
                picture[60:300, left : left + 100] = 250
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
