"""Settings of watched folders: which files are meant, whose they are, and what becomes of them."""

from typing import Self

from pydantic import Field, model_validator

from schemas.frame import CameraId
from service.path_patterns import PathPattern
from service.setting_types import Aftermath, File, FilePattern, Section, TimeZone

_LONGEST_AGE_S = 3650 * 86400.0


class FolderSettings(Section):
    """A folder into which cameras drop pictures and clips, e.g. by FTP."""

    path: File = Field(description="the folder; everything below belongs to it")
    pattern: FilePattern | None = Field(
        default=None,
        description="which files below are meant, and where the camera stands in their paths: "
        "{camera} is its name, * any text in one element, ** any elements; or re: and a regular "
        "expression with a group camera. None: {camera}/**, and ** where camera is given",
    )
    camera: CameraId | None = Field(
        default=None, description="whose all files are, where no path says it"
    )
    frames: int = Field(
        default=3, ge=1, le=32, description="most frames of a clip; clips need the video extra"
    )
    after: Aftermath = Field(
        default="keep",
        description="what becomes of a file once its frames are stored: keep, delete, or "
        "move:folder, in the same folder or anywhere",
    )
    timezone: TimeZone | None = Field(
        default=None, description="of times in names, e.g. Europe/Berlin; none: the service's own"
    )
    motion_intensity: float = Field(default=0.5, ge=0, le=1, description="of all its frames")
    max_age: float = Field(
        default=3600.0,
        ge=10,
        le=_LONGEST_AGE_S,
        description="seconds; a file that was last changed before is no motion: what was there "
        "already, or came while the service was away for longer",
    )

    @model_validator(mode="after")
    def _says_whose_files_are(self) -> Self:
        if self.compiled.names_camera == (self.camera is not None):
            raise ValueError(
                "pattern must name the {camera}, or camera must be given, and not both"
            )
        return self

    @property
    def compiled(self) -> PathPattern:
        """Which files are meant."""
        usual = "{camera}/**" if self.camera is None else "**"
        return PathPattern.compile(self.pattern or usual)
