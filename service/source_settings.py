"""Settings of foreign topics: where images of other systems are read, and whose they are."""

from pydantic import Field, ValidationInfo, field_validator

from broker.patterns import CameraPattern, check_filter
from schemas.frame import CameraId
from service.setting_types import Name, Section, Text, TopicFilter


class SourceSettings(Section):
    """A topic of a foreign system that carries images."""

    camera: CameraId | None = Field(
        default=None, description="whose images these are, where the topic does not say it"
    )
    topic: TopicFilter = Field(
        description="pattern with a {camera} level, e.g. ring/+/camera/{camera}/snapshot/image; "
        "without one where camera is given",
    )
    cameras: dict[Name, CameraId] = Field(
        default_factory=dict,
        description="camera ids by what the topic calls the cameras; other names become ids by "
        "themselves, with _ for what an id cannot have",
    )
    image_path: Text | None = Field(
        default=None,
        min_length=1,
        description="where the image is in JSON, names with dots between; none: under any of the "
        "keys in use",
    )
    motion_intensity: float = Field(
        default=0.5, ge=0, le=1, description="of frames that do not say it"
    )
    accept_retained: bool = Field(
        default=False, description="a retained message is a replay, not motion"
    )
    attributes: TopicFilter | None = Field(
        default=None,
        description="where JSON about the same picture is published, as a pattern like topic; what "
        "comes within 2 s of the picture joins its metadata as attributes",
    )

    @field_validator("topic", "attributes")
    @classmethod
    def _names_a_camera(cls, topic: str | None, fields: ValidationInfo) -> str | None:
        """The field before them has been read already."""
        if topic is None:
            return None
        has_place = "{camera}" in topic.split("/")
        if fields.data.get("camera") is None:
            if not has_place:
                raise ValueError(
                    "must have {camera} as one of its levels, e.g. ring/{camera}/snapshot, or "
                    "camera beside it"
                )
            CameraPattern.compile(topic)
        elif has_place:
            raise ValueError("has a {camera} level, and camera says whose images they are too")
        else:
            check_filter(topic)
        return topic
