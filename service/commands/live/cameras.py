"""What is known of each camera: its newest caption and what became of its frames."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from schemas.frame import Priority
from schemas.job import JobStatus
from schemas.result import ResultDocument
from schemas.status import StatusDocument

MAX_CAMERAS = 256  # as the service itself by default; a broker may carry any number of names
_NEWS = timedelta(minutes=1)  # so long a caption's priority moves its camera up


@dataclass(slots=True)
class CameraState:
    """One camera."""

    camera_id: str
    newest: ResultDocument | None = None
    endings: Counter[JobStatus] = field(default_factory=Counter)  #: since the view was opened

    @property
    def priority(self) -> Priority | None:
        """Of the newest caption."""
        if self.newest is None or self.newest.result is None:
            return None
        return self.newest.result.model_info.priority


class Cameras:
    """All cameras, of which the one silent longest makes room when there are too many."""

    def __init__(self) -> None:
        self._cameras: dict[str, CameraState] = {}  # the one silent longest first

    def __len__(self) -> int:
        return len(self._cameras)

    def caption(self, document: ResultDocument) -> None:
        """Take in a result."""
        self._touch(document.camera_id).newest = document

    def ending(self, document: StatusDocument) -> None:
        """Count the end of a frame."""
        self._touch(document.camera_id).endings[document.status] += 1

    def forget(self, camera_id: str) -> None:
        """Show it no longer, until something comes of it."""
        self._cameras.pop(camera_id, None)

    def shown(self, num_rooms: int, now: datetime) -> list[CameraState]:
        """As many cameras as there is room for.

        In order of name where all have room, so that none moves; otherwise what is urgent and news
        first, then the newest.
        """
        if len(self._cameras) <= num_rooms:
            return sorted(self._cameras.values(), key=lambda camera: camera.camera_id)
        ranked = sorted(self._cameras.values(), key=lambda camera: _rank(camera, now))
        return ranked[::-1][:num_rooms]

    def _touch(self, camera_id: str) -> CameraState:
        camera = self._cameras.pop(camera_id, None) or CameraState(camera_id)
        self._cameras[camera_id] = camera
        while len(self._cameras) > MAX_CAMERAS:
            del self._cameras[next(iter(self._cameras))]
        return camera


def _rank(camera: CameraState, now: datetime) -> tuple[int, float]:
    if camera.newest is None or camera.priority is None:
        return (-2, 0.0)
    is_news = now - camera.newest.timestamp < _NEWS
    return (camera.priority if is_news else -1, camera.newest.timestamp.timestamp())
