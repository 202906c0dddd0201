"""The engine without a model that does decode: it says size and SHA-256 of a picture.

The decoder and its limits are the engine's own, in a process that may die of a hostile file.
"""

import json

from engine.errors import ImageError
from engine.images import ImageLimits
from engine.pixels import decode
from tests.support.quick_engine import (
    Describe,
    QuickEngine,
    UnreadableError,
    digest,
    read_arguments,
)


def describe_size(limits: ImageLimits) -> Describe:
    def describe(data: bytes) -> str:
        try:
            width, height = decode(data, limits).size
        except ImageError as error:
            raise UnreadableError(error.code, str(error)) from error
        return f"{width}x{height} {digest(data)}"

    return describe


if __name__ == "__main__":
    arguments = read_arguments()
    limits = ImageLimits(**json.loads(arguments.image_limits))
    QuickEngine(arguments, describe_size(limits)).run()
