"""Settings of `frigate`: whose objects are described, and how the descriptions get back."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from schemas.frame import MAX_CHOICES, CameraId, Task
from service.errors import UrlRefusedError
from service.http.urls import parse_url
from service.setting_types import File, Name, Secret, Section, Text, TopicPrefix

_DAY_S = 86400.0
_MOST_NAMES = 256  # labels, zones

#: From the least to the greatest.
Severity = Literal["any", "detection", "alert"]
_Names = Annotated[tuple[Name, ...], Field(max_length=_MOST_NAMES)]


def _is_base_url(text: str) -> str:
    try:
        url = parse_url(text)
    except UrlRefusedError as error:
        raise ValueError(str(error)) from None
    if url.userinfo or url.query or url.fragment:
        raise ValueError("is host, port and path only; an account goes into username and password")
    return text.rstrip("/")


class FrigateCameraSettings(Section):
    """One camera of Frigate's, where it differs from the others."""

    camera: CameraId | None = Field(default=None, description="our name for it; none: its own")
    enabled: bool = Field(default=True, description="off: nothing of it is described")
    labels: _Names | None = Field(default=None, description="overrides frigate.labels")
    zones: _Names | None = Field(default=None, description="overrides frigate.zones")
    min_score: float | None = Field(
        default=None, ge=0, le=1, description="overrides frigate.min_score"
    )
    min_severity: Severity | None = Field(
        default=None, description="any, detection or alert; overrides frigate.min_severity"
    )


class FrigateSubLabelSettings(Section):
    """A question whose answer becomes the sub label."""

    question: Text | None = Field(
        default=None, description="e.g. Which delivery service is this?; none: no sub label"
    )
    choices: tuple[Text, ...] = Field(
        default=(), max_length=MAX_CHOICES, description="what can be answered, e.g. [DHL, UPS]"
    )
    min_confidence: float = Field(
        default=0.6, ge=0, le=1, description="an answer less certain is not written"
    )
    none_of_them: Text | None = Field(
        default=None, description="the choice that is never written, e.g. none of them"
    )

    @property
    def task(self) -> Task | None:
        """What the model is asked; None: nothing."""
        if self.question is None:
            return None
        choose = {"question": self.question, "choices": list(self.choices)}
        return Task.model_validate({"choose": choose})

    @model_validator(mode="after")
    def _can_be_asked(self) -> Self:
        try:
            _ = self.task
        except ValidationError as error:
            raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None
        return self


class FrigateSettings(Section):
    """Frigate's tracked objects as frames."""

    enabled: bool = Field(default=False, description="whether Frigate is followed")
    topic_prefix: TopicPrefix = Field(
        default="frigate", description="its mqtt.topic_prefix, on the same broker"
    )
    url: Annotated[Text, AfterValidator(_is_base_url)] | None = Field(
        default=None,
        description="of its web page: http://frigate:5000 without login, https://frigate:8971 with "
        "one; none: pictures come from its snapshot topics and nothing is written back",
    )
    username: Name | None = Field(
        default=None, description="account on port 8971; writing back takes the role admin"
    )
    password: Secret | None = Field(default=None, description="of the account")
    ca_file: File | None = Field(
        default=None, description="certificate authority to trust; none: the usual ones"
    )
    insecure: bool = Field(
        default=False,
        description="accept any certificate, for example the one Frigate makes for itself",
    )
    timeout: float = Field(default=30.0, ge=0.1, le=300, description="seconds for one request")
    events: bool = Field(default=True, description="describe tracked objects")
    reviews: bool = Field(default=False, description="describe reviews")
    describe_updates: bool = Field(
        default=False, description="also while an object is tracked, at most every 10 s"
    )
    early: bool = Field(
        default=True, description="a first description as soon as an object is an alert"
    )
    write_back: bool = Field(
        default=True, description="write the description into Frigate, when the object has gone"
    )
    overwrite: bool = Field(
        default=False,
        description="also over a description that is there, and where Frigate writes its own",
    )
    give_up_after: float = Field(
        default=_DAY_S,
        ge=1,
        le=30 * _DAY_S,
        description="seconds of attempts to write back until the dead letters",
    )
    crop: bool = Field(default=False, description="the object alone, not the whole picture")
    sub_label: FrigateSubLabelSettings = Field(
        default_factory=FrigateSubLabelSettings,
        description="a question whose answer becomes the object's sub label",
    )
    labels: _Names = Field(default=(), description="only these, e.g. [person, car]; none: all")
    zones: _Names = Field(default=(), description="only objects that entered one; none: all")
    min_score: float = Field(default=0.0, ge=0, le=1, description="least score of an object")
    min_severity: Severity = Field(
        default="any", description="least severity; any includes objects of no review"
    )
    cameras: dict[Name, FrigateCameraSettings] = Field(
        default_factory=dict, description="settings per camera, by Frigate's name of it"
    )
    catch_up: float = Field(
        default=3600.0,
        ge=0,
        le=7 * _DAY_S,
        description="seconds back that are asked for at the start: objects that were missed",
    )
