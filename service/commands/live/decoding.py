"""A published picture in pixels, reduced to what a terminal can show."""

import io

from PIL import Image

from engine.errors import ImageDecodeError, ImageTooLargeError
from engine.images import inspect

#: A large cell of a large terminal has 20 × 40 pixels, and a picture 24 × 12 of them at most.
MAX_SIZE = (480, 480)


class PictureError(Exception):
    """The bytes are no JPEG that is shown."""


def decode(jpeg: bytes) -> Image.Image:
    """Decode a JPEG into RGB, reduced to at most `MAX_SIZE`.

    Raises:
        PictureError: It is none, it is damaged, or it has too many pixels.
    """
    try:
        if inspect(jpeg).format != "JPEG":
            raise PictureError
        with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as image:
            image.draft("RGB", MAX_SIZE)  # the decoder itself leaves out what is not shown
            picture = image.convert("RGB")
    except (ImageDecodeError, ImageTooLargeError, OSError, ValueError, SyntaxError) as error:
        raise PictureError from error
    picture.thumbnail(MAX_SIZE)
    return picture
