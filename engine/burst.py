"""The child behind bursts: `python -m engine.burst` looks at pictures, so that one can be chosen.

Pixels are decoded in a process that may die of them, never in the service's own. It reads a
question from stdin, prints the answer and ends; see `engine.sight`. It loads no torch.
"""

import sys

import numpy as np
from PIL import Image

from engine.channel import die_with_parent
from engine.errors import ImageError
from engine.fingerprint import Fingerprint, fingerprint, from_bytes, likeness
from engine.images import ImageLimits
from engine.pixels import decode
from engine.sight import Seen, answer, read_question

#: Longest side on which sharpness is measured: what motion blurs is seen there, noise is not.
_SIDE = 640
#: Levels of 255 by which cells of a picture of one colour differ. What is dark but has shapes, or
#: the camera's clock in a corner, differs by more.
_FLAT = 4


def main() -> None:
    """Look at what stands on stdin."""
    die_with_parent()
    pictures, fingerprint_, limits = read_question(sys.stdin.buffer)
    last = None if fingerprint_ is None else from_bytes(fingerprint_)
    seen = [look(each, last, ImageLimits(**limits)) for each in pictures]
    sys.stdout.buffer.write(answer(seen))


def look(data: bytes, last: Fingerprint | None, limits: ImageLimits) -> Seen:
    """What one picture shows."""
    try:
        image = decode(data, limits)
    except ImageError as error:
        return Seen(0.0, 0.0, is_flat=False, problem=str(error))
    cells = fingerprint(image)
    alike = 0.0 if last is None else likeness(cells, last)
    is_flat = int(cells.max() - cells.min()) <= _FLAT
    return Seen(_sharpness(image), alike, is_flat=is_flat, problem=None)


def _sharpness(image: Image.Image) -> float:
    """Variance of the Laplacian of brightness."""
    grey = image.convert("L")
    grey.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX)
    cells = np.asarray(grey, dtype=np.float32)
    around = cells[:-2, 1:-1] + cells[2:, 1:-1] + cells[1:-1, :-2] + cells[1:-1, 2:]
    return float((around - 4 * cells[1:-1, 1:-1]).var()) if around.size else 0.0


if __name__ == "__main__":
    main()
