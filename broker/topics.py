"""Every topic: built, parsed and listed here and nowhere else.

`TABLE` is the contract: `docs/topics.md` is tested against it and the publisher takes QoS and
retain from it. A topic that came from outside is used only after `valid_response_topic`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel

from schemas.batch import BatchProgress
from schemas.camera import CameraSettings
from schemas.frame import MotionFrame, is_camera_id
from schemas.requests.envelope import Reply, Request
from schemas.result import ResultDocument
from schemas.status import (
    BridgeInfo,
    DeadLetter,
    Health,
    LogDocument,
    Metrics,
    Stats,
    StatusDocument,
    UpdateStatus,
)

BridgeName = Literal["state", "info", "stats", "metrics", "health", "dead_letter", "log", "update"]

ONLINE = b"online"
OFFLINE = b"offline"

# Mosquitto takes 200 levels and hangs up on more; others allow fewer. Nobody needs a tenth of it.
MAX_TOPIC_LEVELS = 32
MAX_TOPIC_BYTES = 256
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_PLACE = re.compile(r"<\w+>")


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """One line of the contract."""

    name: str
    #: With <base>, <camera>, <setting> and <batch_id>; <operation> may have several levels.
    pattern: str
    schema: type[BaseModel] | None  #: None where the payload is not JSON
    qos: Literal[0, 1]
    retain: bool
    direction: Literal["in", "out"]
    description: str

    def topic_filter(self, base: str, camera: str = "+") -> str:
        """What to subscribe to for all of them, or those of one camera."""
        named = self.pattern.replace("<base>", base).replace("<camera>", camera)
        return _PLACE.sub("+", named.replace("<operation>", "#"))


TABLE: tuple[TopicSpec, ...] = (
    TopicSpec(
        "frame",
        "<base>/<camera>/frame",
        MotionFrame,
        qos=1,
        retain=False,
        direction="in",
        description="one frame: image bytes, data URI, base64 or JSON",
    ),
    TopicSpec(
        "status",
        "<base>/<camera>/status",
        StatusDocument,
        qos=1,
        retain=False,
        direction="out",
        description="every transition of every frame",
    ),
    TopicSpec(
        "caption",
        "<base>/<camera>/caption",
        ResultDocument,
        qos=1,
        retain=True,
        direction="out",
        description="the newest completed result of the camera",
    ),
    TopicSpec(
        "settings",
        "<base>/<camera>/settings",
        CameraSettings,
        qos=1,
        retain=True,
        direction="out",
        description="the camera's effective settings",
    ),
    TopicSpec(
        "image",
        "<base>/<camera>/image",
        None,
        qos=1,
        retain=True,
        direction="out",
        description="JPEG of the captioned frame, with publish_image",
    ),
    TopicSpec(
        "set",
        "<base>/<camera>/set/<setting>",
        None,
        qos=1,
        retain=False,
        direction="in",
        description="a new value for one setting of the camera; empty: the file's again",
    ),
    TopicSpec(
        "bridge/state",
        "<base>/bridge/state",
        None,
        qos=1,
        retain=True,
        direction="out",
        description="online or offline; also the last will",
    ),
    TopicSpec(
        "bridge/info",
        "<base>/bridge/info",
        BridgeInfo,
        qos=1,
        retain=True,
        direction="out",
        description="version, model, limits and settings without secrets",
    ),
    TopicSpec(
        "bridge/stats",
        "<base>/bridge/stats",
        Stats,
        qos=1,
        retain=True,
        direction="out",
        description="counts and rates, every stats_interval",
    ),
    TopicSpec(
        "bridge/metrics",
        "<base>/bridge/metrics",
        Metrics,
        qos=1,
        retain=True,
        direction="out",
        description="processor, memory and GPUs, every stats_interval",
    ),
    TopicSpec(
        "bridge/health",
        "<base>/bridge/health",
        Health,
        qos=1,
        retain=True,
        direction="out",
        description="whether each part can do its job",
    ),
    TopicSpec(
        "bridge/dead_letter",
        "<base>/bridge/dead_letter",
        DeadLetter,
        qos=1,
        retain=False,
        direction="out",
        description="what could not be processed and why; never the image",
    ),
    TopicSpec(
        "bridge/log",
        "<base>/bridge/log",
        LogDocument,
        qos=1,  # not 0: what a broker hangs up on is found by its missing acknowledgement
        retain=False,
        direction="out",
        description="warnings and errors",
    ),
    TopicSpec(
        "bridge/request",
        "<base>/bridge/request/<operation>",
        Request,
        qos=1,
        retain=False,
        direction="in",
        description="ask or order something",
    ),
    TopicSpec(
        "bridge/response",
        "<base>/bridge/response/<operation>",
        Reply,
        qos=1,
        retain=False,
        direction="out",
        description="the answer to a request without a response topic of its own",
    ),
    TopicSpec(
        "bridge/batch",
        "<base>/bridge/batch/<batch_id>",
        BatchProgress,
        qos=1,
        retain=False,
        direction="out",
        description="how a batch is doing, after each end, and when it is over",
    ),
    TopicSpec(
        "bridge/update",
        "<base>/bridge/update",
        UpdateStatus,
        qos=1,
        retain=True,
        direction="out",
        description="the newest release, with homeassistant.check_updates",
    ),
)

_BY_NAME = {spec.name: spec for spec in TABLE}


def spec_of(name: str) -> TopicSpec:
    """The line of `TABLE` with this name.

    Raises:
        KeyError: There is none.
    """
    return _BY_NAME[name]


class Topics:
    """The topics below one base.

    Args:
        base: First levels of every topic of ours, without a slash at the end.
    """

    def __init__(self, base: str) -> None:
        self.base = base
        self._frame_prefix = f"{base}/"

    @property
    def frame_filter(self) -> str:
        """What to subscribe to for frames of all cameras."""
        return f"{self.base}/+/frame"

    def frame(self, camera_id: str) -> str:
        """Where a camera publishes its frames."""
        return self.of_camera(camera_id, "frame")

    def status(self, camera_id: str) -> str:
        """Every transition of the camera's frames."""
        return self.of_camera(camera_id, "status")

    def caption(self, camera_id: str) -> str:
        """The camera's newest result."""
        return self.of_camera(camera_id, "caption")

    def settings(self, camera_id: str) -> str:
        """The camera's effective settings."""
        return self.of_camera(camera_id, "settings")

    def image(self, camera_id: str) -> str:
        """The camera's newest captioned frame."""
        return self.of_camera(camera_id, "image")

    @property
    def setting_filter(self) -> str:
        """What to subscribe to for the settings of all cameras."""
        return f"{self.base}/+/set/+"

    def of_camera(self, camera_id: str, name: str) -> str:
        """A topic of a camera.

        Raises:
            ValueError: It is not a camera id: the last guard before another topic is reached.
        """
        if not is_camera_id(camera_id):
            raise ValueError(f"{camera_id!r} is not a camera id")
        return f"{self.base}/{camera_id}/{name}"

    def bridge(self, name: BridgeName) -> str:
        """A topic of the service itself."""
        return f"{self.base}/bridge/{name}"

    def request(self, operation: str) -> str:
        """Where an operation is asked for."""
        return f"{self.base}/bridge/request/{operation}"

    def response(self, operation: str) -> str:
        """Where the answer goes that nobody wants elsewhere."""
        return f"{self.base}/bridge/response/{operation}"

    def reply(self, name: str) -> str:
        """A response topic of whoever asks; `#` for all of them."""
        return f"{self.base}/response/requests/{name}"

    def batch(self, batch_id: str) -> str:
        """The progress of a batch."""
        return f"{self.base}/bridge/batch/{batch_id}"

    def camera_of_frame(self, topic: str) -> str | None:
        """The camera of a frame topic of ours; None for any other topic."""
        if not topic.startswith(self._frame_prefix) or not topic.endswith("/frame"):
            return None
        camera_id = topic[len(self._frame_prefix) : -len("/frame")]
        return camera_id if is_camera_id(camera_id) else None

    def is_published(self, topic: str) -> bool:
        """Whether the service itself publishes on a topic, or answers there."""
        if not topic.startswith(self._frame_prefix):
            return False
        filters = (each.topic_filter(self.base) for each in TABLE if each.direction == "out")
        return any(matches(topic, each) for each in (*filters, f"{self.base}/response/#"))

    def setting_of(self, topic: str) -> tuple[str, str] | None:
        """What stands for the camera and the setting in a topic that sets one; both unchecked."""
        if not matches(topic, self.setting_filter):
            return None
        camera_id, _, setting = topic[len(self._frame_prefix) :].split("/")
        return camera_id, setting


def matches(topic: str, topic_filter: str) -> bool:
    """Whether a subscription to `topic_filter` gets `topic` (MQTT 5, section 4.7)."""
    levels, wanted = topic.split("/"), topic_filter.split("/")
    if topic.startswith("$") and wanted[0] in {"+", "#"}:
        return False
    for i, level in enumerate(wanted):
        if level == "#":
            return True
        if i >= len(levels) or level not in {"+", levels[i]}:
            return False
    return len(levels) == len(wanted)


def valid_response_topic(topic: str, patterns: Iterable[str], base: str, camera_id: str) -> bool:
    """Whether the answer to a frame may be published where its sender asks for it.

    Whoever may publish a frame must not be able to make the service publish anywhere, nor in
    another camera's name: the topic has to match one of the operator's `patterns`, and can never be
    one that carries something of our own, whatever the patterns say.

    Args:
        patterns: May contain `{base}` and `{camera}`. Below `{base}/response/requests`, where those
            are answered who may order, only a pattern without `{camera}` counts: no camera comes to
            stand there by its name.
        camera_id: Of the frame.
    """
    if not _is_publishable(topic) or _is_our_own(topic, base):
        return False
    if matches(topic, f"{base}/response/requests/#"):
        patterns = [pattern for pattern in patterns if "{camera}" not in pattern]
    return any(
        matches(topic, pattern.replace("{camera}", camera_id).replace("{base}", base))
        for pattern in patterns
    )


def _is_publishable(topic: str) -> bool:
    if not topic or topic.startswith("$") or "+" in topic or "#" in topic:
        return False
    if _CONTROL.search(topic) or topic.count("/") >= MAX_TOPIC_LEVELS:
        return False
    try:
        return len(topic.encode()) <= MAX_TOPIC_BYTES
    except UnicodeEncodeError:  # a lone surrogate
        return False


def _is_our_own(topic: str, base: str) -> bool:
    if matches(topic, f"{base}/bridge/#"):
        return not matches(topic, f"{base}/bridge/response/#")
    return any(matches(topic, spec.topic_filter(base)) for spec in TABLE)
