"""Pictures of cameras and of jobs, as the gateway asks for them."""

from dataclasses import dataclass, field
from typing import Protocol

#: Widths that are made; what is asked for is rounded up to one of them.
WIDTHS = (160, 320, 640, 1280)


@dataclass(frozen=True, slots=True)
class Picture:
    """One of them."""

    data: bytes = field(repr=False)
    media_type: str
    version: str  #: the same name, the same bytes


class Pictures(Protocol):
    """Who has them; see `service.web.pictures`."""

    async def of_camera(self, camera_id: str, version: str | None, width: int | None) -> Picture:
        """The newest frame of a camera, or the one of a version, at most so wide.

        Raises:
            Problem: `not_found`, or `frame_gone`: it is no longer kept.
        """

    async def of_job(self, job_id: str, camera_id: str | None, width: int | None) -> Picture:
        """The frame of a job.

        Raises:
            Problem: The same, or `ambiguous`: several cameras have a job of this id.
        """


def width_of(wanted: int | None) -> int | None:
    """The width that is made for one that is wanted; None: as it is."""
    if wanted is None:
        return None
    return next((width for width in WIDTHS if width >= wanted), None)
