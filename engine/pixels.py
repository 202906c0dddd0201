"""From the bytes of an image to its pixels, in the process that may die of it.

The header has been held against the limits by the service already; it is done again here, because
what Pillow finds in a hostile file need not be what we found. What passes costs at most some 0.5 s
and 150 MB, which is why threads are enough and no third kind of process is needed: the engine is
itself the process whose death harms nobody.
"""

import io
import struct
import warnings
import zlib

import numpy as np
from PIL import Image, PngImagePlugin

from engine.errors import ImageDecodeError
from engine.images import ImageHeader, ImageLimits, check_size, inspect

# Pillow has these as globals only. Text chunks of a PNG are unpacked before any pixel; the rest is
# what `inspect` has bounded more tightly, and Pillow's own bound would be a warning.
PngImagePlugin.MAX_TEXT_MEMORY = 1 << 20
Image.MAX_IMAGE_PIXELS = None
warnings.filterwarnings("ignore", module=r"PIL\.")  # oddities of files that decode all the same

_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
#: What Pillow's parsers are known to raise for damaged files, by the fuzz test.
_DAMAGE = (OSError, ValueError, SyntaxError, EOFError, KeyError, struct.error, zlib.error)


def decode(data: bytes, limits: ImageLimits) -> Image.Image:
    """Decode an image as people see it: upright, in RGB.

    A JPEG of more than `max_pixels_costly` is decoded at half, a quarter or an eighth of its size;
    everything else in full, because resampling is a part of the model.

    Raises:
        ImageTooLargeError: As `inspect`.
        ImageDecodeError: As `inspect`; `image_corrupt` also for what only decoding shows.
    """
    header = inspect(data, limits)
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP")) as image:
            _check(image, header, limits)
            _reduce(image, limits.max_pixels_costly)
            image.load()
            turned = _turn(image)
            return _to_rgb(turned)
    except _DAMAGE as error:
        raise ImageDecodeError("image_corrupt", f"the image cannot be decoded: {error}") from error
    except MemoryError as error:
        raise ImageDecodeError("image_corrupt", "the image needs too much memory") from error


def _check(image: Image.Image, header: ImageHeader, limits: ImageLimits) -> None:
    """Hold what Pillow found against the limits and against what we found."""
    found = ImageHeader(header.format, image.width, image.height, header.is_costly)
    check_size(found, limits)
    # The second picture in a JPEG of some cameras is a thumbnail or the other eye.
    if image.format != "MPO" and getattr(image, "n_frames", 1) != 1:
        raise ImageDecodeError("image_animated", "the image has several frames, send one")


def _reduce(image: Image.Image, max_pixels: int) -> None:
    """Let the JPEG decoder leave out detail, as little as brings the picture below a size."""
    for scale in (1, 2, 4, 8):
        if image.width * image.height <= max_pixels * scale**2:
            if scale > 1:
                image.draft(None, (image.width // scale, image.height // scale))
            return


def _turn(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except _DAMAGE:  # nothing but the orientation is lost
        return image
    turn = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image) -> Image.Image:
    """Convert as the model expects it; the result carries pixels and nothing else.

    Transparency is dropped. Sixteen bits of grey are scaled, which Pillow's conversion does not.
    """
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    rgb = image.convert("RGB")
    rgb.info.clear()
    return rgb
