"""A picture to try a set-up with, where no camera is at hand: `python -m demo.picture photo.jpg`.

It is a frame of the demonstration's cameras with somebody in it, and the same one every time.
"""

import argparse
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from demo.camera import default_cameras, story

_NUMBER = 3  # of the frames of a story: by then somebody is there
_JPEG_QUALITY = 85


def main(words: Sequence[str] | None = None) -> None:
    """Write the picture."""
    cameras = {camera.camera_id: camera for camera in default_cameras()}
    parser = argparse.ArgumentParser(
        prog="python -m demo.picture", description="Draw a picture that a camera could have taken."
    )
    parser.add_argument("path", type=Path, help="JPEG file to write, e.g. photo.jpg")
    parser.add_argument("--camera", choices=cameras, default="front_door", help="where it hangs")
    asked = parser.parse_args(words)
    camera = cameras[asked.camera]
    frame = next(islice(story(camera, camera.seed), _NUMBER, None))
    frame.image.save(asked.path, "JPEG", quality=_JPEG_QUALITY)


if __name__ == "__main__":
    main()
