"""Pictures as sixels (DEC VT340): bands six pixels high, one pass for each colour in a band."""

from itertools import groupby

import numpy as np
from PIL import Image

_COLORS = 64  # 256 take four times as long to send and look the same this small
_BAND = 6  # rows of pixels


def encode(picture: Image.Image, width: int, height: int) -> str:
    """The escape sequence that draws the picture where the cursor stands.

    Args:
        picture: In RGB.
        width: Pixels to fill.
        height: Pixels to fill; at most this, in whole bands.
    """
    height = max(_BAND, height // _BAND * _BAND)
    small = picture.resize((width, height)).quantize(_COLORS)
    palette = np.array(small.getpalette() or [], dtype=int).reshape(-1, 3)
    pixels = np.asarray(small)  # (height, width) of indices
    registers = [
        "#{};2;{};{};{}".format(i, *(palette[i] * 100 // 255)) for i in np.unique(pixels).tolist()
    ]
    bands = [_band(pixels[top : top + _BAND]) for top in range(0, height, _BAND)]
    # Second parameter 1: what is not drawn keeps its colour; the raster says the size beforehand.
    return f'\x1bP0;1;0q"1;1;{width};{height}{"".join(registers)}{"-".join(bands)}\x1b\\'


def _band(rows: np.ndarray) -> str:
    """Six rows of pixels, colour over colour."""
    weights = 1 << np.arange(_BAND)[:, None]  # the topmost pixel is the lowest bit
    passes = []
    for color in np.unique(rows).tolist():
        bits = ((rows == color) * weights).sum(axis=0) + 63
        passes.append(f"#{color}{_compressed(bits.tolist())}")
    return "$".join(passes)


def _compressed(bits: list[int]) -> str:
    parts = []
    for code, run in groupby(bits):
        length = len(list(run))
        parts.append(f"!{length}{chr(code)}" if length > 3 else chr(code) * length)
    return "".join(parts)
