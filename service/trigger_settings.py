"""Settings of one trigger: when there is something to see, and where the picture is."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from schemas.frame import CameraId, Headers
from service.errors import UrlRefusedError
from service.http.urls import parse_url
from service.setting_types import File, Name, Secret, Section, Text, TriggerTopic

CAMERA = "{camera}"

#: What senders say when there is motion; compared without case.
_ON = ("on", "1", "true", "start", "motion_start")
# YAML reads `on`, `yes` and `true` as one value, and so do `off`, `no` and `false`.
_SWITCH = {True: ("on", "yes", "true"), False: ("off", "no", "false")}

_DAY_S = 86400.0


def _spell_out(value: Any) -> Any:
    """The texts that YAML may have read as something else."""
    if isinstance(value, str | bool | int | float):
        value = [value]
    if not isinstance(value, list | tuple):
        return value
    texts: list[Any] = []
    for each in value:
        if isinstance(each, bool):
            texts += _SWITCH[each]
        else:
            texts.append(str(each) if isinstance(each, int | float) else each)
    return tuple(texts)


_Texts = Annotated[
    tuple[Name, ...], BeforeValidator(_spell_out), Field(min_length=1, max_length=64)
]


class ValueAt(Section, serialize_by_alias=True):
    """Motion is where one field of a JSON object has one of some values."""

    path: Name = Field(description="names of the fields down to it, with dots between")
    values: _Texts = Field(alias="in", description="what it is while there is motion")


class CameraAt(Section):
    """The camera is named by a field of a JSON object."""

    path: Name = Field(description="names of the fields down to it, with dots between")
    map: dict[Name, CameraId] = Field(
        default_factory=dict, max_length=4096, description="our name for theirs"
    )


def _kind(value: Any) -> str:
    """Which of two forms a setting has, so that a mistake is named for that one alone."""
    return "plain" if not isinstance(value, dict | Section) else "field"


_When = Annotated[
    Annotated[_Texts, Tag("plain")] | Annotated[ValueAt, Tag("field")], Discriminator(_kind)
]
_Camera = Annotated[
    Annotated[CameraId, Tag("plain")] | Annotated[CameraAt, Tag("field")], Discriminator(_kind)
]


class BurstSettings(Section):
    """Several pictures of one motion."""

    frames: int = Field(default=1, ge=1, le=10, description="pictures taken for one motion")
    every: float = Field(default=1.0, ge=0, le=60, description="seconds between two of them")
    delay: float = Field(
        default=0.0, ge=0, le=60, description="seconds before the first, e.g. until a door is open"
    )
    keep: Literal["best", "last", "all"] = Field(
        default="best",
        description="which are captioned; the best is the sharpest of those that differ from the "
        "camera's last captioned picture",
    )


class AuthSettings(Section):
    """How a camera wants to be asked."""

    type: Literal["basic", "digest", "bearer"] = Field(description="what the camera asks for")
    username: Text | None = Field(default=None, description="of basic and digest")
    password: Secret | None = Field(default=None, description="of the account")
    token: Secret | None = Field(default=None, description="of bearer")

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.type == "bearer":
            if self.token is None or self.username is not None or self.password is not None:
                raise ValueError("bearer has a token, and neither username nor password")
        elif self.username is None or self.password is None or self.token is not None:
            raise ValueError(f"{self.type} has username and password, and no token")
        return self


class TriggerSettings(Section):
    """A message that says that there is something to see, or the clock; and the picture's URL."""

    topic: TriggerTopic | None = Field(
        default=None,
        description="pattern of topics that say whether there is motion, with a {camera} level or "
        "with a camera below, e.g. neolink/{camera}/status/motion; or every",
    )
    every: float | None = Field(
        default=None, ge=1, le=7 * _DAY_S, description="seconds between pictures, without motion"
    )
    when: _When = Field(
        default=_ON,
        description="texts, in any case, that mean motion; or {path, in}: a field of a JSON object "
        "and its values",
    )
    camera: _Camera | None = Field(
        default=None,
        description="whose picture it is where the topic does not say it; or {path, map}: a field "
        "of the JSON object, and our names for theirs",
    )
    url: Text = Field(
        description="http(s) address of the picture; {camera} in its path or query is the camera's "
        "name. Accounts go into auth"
    )
    burst: BurstSettings = Field(
        default_factory=BurstSettings, description="pictures of one motion"
    )
    motion_intensity: float = Field(default=0.5, ge=0, le=1, description="of its frames")
    cooldown: float = Field(
        default=10.0,
        ge=0,
        le=_DAY_S,
        description="seconds after the beginning of a motion in which another takes no picture",
    )
    repeat: float = Field(
        default=0.0, ge=0, le=_DAY_S, description="seconds between bursts while motion lasts; 0: no"
    )
    off_delay: float = Field(
        default=300.0,
        ge=1,
        le=_DAY_S,
        description="seconds after the newest message that says motion until it counts as over, "
        "for senders that never say so",
    )
    auth: AuthSettings | None = Field(default=None, description="access to the picture")
    headers: Headers | None = Field(default=None, description="HTTP headers, e.g. X-API-Key")
    ca_file: File | None = Field(
        default=None, description="certificate authority to trust for its https"
    )
    insecure: bool = Field(
        default=False, description="accept any certificate, as of a camera that made its own"
    )
    timeout: float = Field(
        default=15.0,
        ge=0.1,
        le=300,
        description="seconds for one picture; a gateway may wait 10 for a stream to start",
    )

    @property
    def named_cameras(self) -> tuple[CameraId, ...]:
        """Those that the settings name; others are known once a message names them."""
        if isinstance(self.camera, CameraAt):
            return tuple(self.camera.map.values())
        return () if self.camera is None else (self.camera,)

    @model_validator(mode="after")
    def _says_when(self) -> Self:
        if (self.topic is None) == (self.every is None):
            raise ValueError("exactly one of topic and every is required")
        names_camera = self.topic is not None and CAMERA in self.topic.split("/")
        if names_camera and self.camera is not None:
            raise ValueError("the topic has {camera}, so there is no camera beside it")
        if not names_camera and self.camera is None:
            raise ValueError("camera is required, unless the topic has {camera} as a level")
        if self.every is not None and isinstance(self.camera, CameraAt):
            raise ValueError("by the clock there is one camera, named as it is")
        return self

    @model_validator(mode="after")
    def _names_a_picture(self) -> Self:
        if any(name != CAMERA for name in re.findall(r"\{\w*\}", self.url)):
            raise ValueError("url: {camera} is the only name that is filled in")
        host = re.match(r"[^/]*//[^/?#]*", self.url)
        if host is not None and CAMERA in host[0]:
            raise ValueError("url: {camera} stands in the path or the query, not in the host")
        try:
            url = parse_url(self.url.replace(CAMERA, "camera"))
        except UrlRefusedError as error:
            raise ValueError(f"url: {error}") from None
        if url.userinfo:
            raise ValueError("url: an account goes into auth")
        return self
