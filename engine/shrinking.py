"""The process that makes pictures small, which may die of one that is hostile.

    python -m engine.shrinking QUESTION_FD ANSWER_FD LIMITS

A question is a width, a number of bytes and the picture; the answer a number of bytes and a JPEG,
none where the picture cannot be decoded. It ends with its questions.
"""

import io
import json
import os
import struct
import sys
from contextlib import suppress
from typing import BinaryIO

from PIL import Image

from engine.errors import ImageDecodeError, ImageTooLargeError
from engine.images import ImageLimits
from engine.pixels import decode

_HEAD = struct.Struct(">II")
_SIZE = struct.Struct(">I")
_QUALITY = 80


def main() -> None:
    """See the module."""
    question_fd, answer_fd, limits = sys.argv[1:]
    with suppress(OSError):
        os.nice(10)  # a camera's frame does not wait for a thumbnail
    with os.fdopen(int(question_fd), "rb") as questions, os.fdopen(int(answer_fd), "wb") as answers:
        while answer_one(questions, answers, ImageLimits(**json.loads(limits))):
            pass


def answer_one(questions: BinaryIO, answers: BinaryIO, limits: ImageLimits) -> bool:
    """Answer the next question; False: there is none."""
    head = questions.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return False
    width, num_bytes = _HEAD.unpack(head)
    try:
        jpeg = shrink(questions.read(num_bytes), width, limits)
    except (ImageDecodeError, ImageTooLargeError):
        jpeg = b""
    answers.write(_SIZE.pack(len(jpeg)) + jpeg)
    answers.flush()
    return True


def shrink(picture: bytes, width: int, limits: ImageLimits) -> bytes:
    """A picture as a JPEG of at most a width.

    Raises:
        ImageDecodeError: It is none.
        ImageTooLargeError: It is over a limit.
    """
    image = decode(picture, limits)
    image.thumbnail((width, limits.max_side), Image.Resampling.BILINEAR, reducing_gap=2.0)
    output = io.BytesIO()
    image.save(output, "JPEG", quality=_QUALITY)
    return output.getvalue()


if __name__ == "__main__":
    main()
