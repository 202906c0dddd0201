"""Small pictures of the cameras, decoded from what the service publishes.

The bytes come over the network: their header is held against limits before a decoder sees them, and
what cannot be decoded is no picture. Decoding takes milliseconds; the screen does it in a thread.
"""

from collections.abc import Collection

from PIL import Image

from service.commands.live.decoding import PictureError, decode

_MAX_BYTES = 2_000_000  # `publish_image` sends less
_MAX_PICTURES = 32  # more have no room on a screen; half a megabyte each


class Thumbnails:
    """The newest picture of each camera."""

    def __init__(self) -> None:
        self._waiting: dict[str, bytes] = {}
        self._pictures: dict[str, Image.Image] = {}

    def put(self, camera_id: str, jpeg: bytes) -> None:
        """Take in a picture; one of the same camera that was not decoded yet is passed over."""
        self._waiting.pop(camera_id, None)
        if len(jpeg) > _MAX_BYTES:
            return
        self._waiting[camera_id] = jpeg
        while len(self._waiting) > _MAX_PICTURES:
            del self._waiting[next(iter(self._waiting))]

    def get(self, camera_id: str) -> Image.Image | None:
        """The newest decoded picture; another object for each new one."""
        return self._pictures.get(camera_id)

    def take(self, cameras: Collection[str]) -> tuple[str, bytes] | None:
        """One of these cameras with the picture to decode; that which waits longest first."""
        chosen = next((camera for camera in self._waiting if camera in cameras), None)
        return (chosen, self._waiting.pop(chosen)) if chosen is not None else None

    def keep(self, camera_id: str, picture: Image.Image | None) -> None:
        """Show this one from now on; None: none."""
        self._pictures.pop(camera_id, None)
        if picture is not None:
            self._pictures[camera_id] = picture
        while len(self._pictures) > _MAX_PICTURES:
            del self._pictures[next(iter(self._pictures))]

    def decode_waiting(self) -> None:
        """Decode all that came, here and now."""
        while (taken := self.take(self._waiting.copy())) is not None:
            self.keep(taken[0], decoded_or_none(taken[1]))


def decoded_or_none(jpeg: bytes) -> Image.Image | None:
    """The picture, or None where it is none that can be shown."""
    try:
        return decode(jpeg)
    except PictureError:
        return None
