"""What a camera sees now: the picture behind its own `snapshot_url`, or behind a trigger."""

from typing import Protocol

from service.camera import Camera
from service.errors import FrameError
from service.triggers.snapshots import Snapshots
from service.triggers.triggers import Triggers


class FetchUrl(Protocol):
    """Gets the bytes behind a URL; see `service.intake.fetch`."""

    async def fetch(self, url: str, *, is_trusted: bool = False) -> bytes:
        """Raises FrameError or UrlRefusedError."""


class PresentPictures:
    """Gets them.

    Args:
        fetch: Of a `snapshot_url`.
        snapshots: Of triggers.
        triggers: Know which of them is a camera's.
    """

    def __init__(self, fetch: FetchUrl, snapshots: Snapshots, triggers: Triggers) -> None:
        self._fetch = fetch
        self._snapshots = snapshots
        self._triggers = triggers

    def knows(self, camera: Camera) -> bool:
        """Whether there is an address to ask."""
        is_set = camera.settings.snapshot_url is not None
        return is_set or self._triggers.trigger_of(camera.camera_id) is not None

    async def fetch(self, camera: Camera) -> bytes:
        """The picture of a camera that is known; whether it is one is for intake to say.

        Raises:
            UrlRefusedError: The `snapshot_url` or its address is not allowed.
            FrameError: It cannot be had.
        """
        if (url := camera.settings.snapshot_url) is not None:
            return await self._fetch.fetch(url, is_trusted=camera.is_snapshot_trusted)
        asked = self._triggers.trigger_of(camera.camera_id)
        if asked is None:  # forgotten since
            raise FrameError("fetch_failed", f"nobody says any more what {camera.camera_id} sees")
        number, name = asked
        return await self._snapshots.fetch(number, camera.camera_id, name)
