"""All settings: what there is, its unit, default and bounds.

Every number has a finite range and every text a greatest length, so that whatever is accepted here
can be computed with, stored and sent; `docs/settings.md` has the reasons. That page and
`config.example.yaml` are checked against this file by a test; how the file and the environment are
read is in `service/configuration.py`.
"""

import json
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from schemas.camera import CameraSettings
from schemas.frame import MAX_AGE_S, CameraId
from service.folder_settings import FolderSettings
from service.frigate_settings import FrigateSettings
from service.homeassistant_settings import HomeAssistantSettings
from service.http.urls import origin
from service.http_settings import HttpSettings
from service.setting_types import (
    Devices,
    File,
    Host,
    ModelName,
    Name,
    Secret,
    Text,
    TopicFilter,
    TopicPrefix,
)
from service.setting_types import Section as _Section
from service.source_settings import SourceSettings
from service.trigger_settings import TriggerSettings

ENVIRONMENT_PREFIX = "MOONDREAM2MQTT__"
_MASK = "**********"
_MOST_SHOWN_BYTES = 1_000_000  # Mosquitto from 2.1 on takes packets of 2,000,000

_DAY_S = 86400.0
_WEEK_S = 7 * _DAY_S
_GIB = 1 << 30
_TIB = 1 << 40


class TlsSettings(_Section):
    """TLS to the broker."""

    enabled: bool = Field(default=False, description="encrypt the connection; usual port 8883")
    ca_file: File | None = Field(
        default=None, description="certificate authority to trust; none: the system's"
    )
    cert_file: File | None = Field(default=None, description="client certificate, if asked for")
    key_file: File | None = Field(default=None, description="its private key")
    insecure: bool = Field(
        default=False, description="accept any host name in the certificate; for tests only"
    )


class MqttSettings(_Section):
    """The broker."""

    host: Host = Field(default="127.0.0.1", description="name or address of the broker")
    port: int = Field(default=1883, ge=1, le=65535, description="1883, or 8883 with TLS")
    username: Text | None = Field(default=None, description="account on the broker")
    password: Secret | None = Field(default=None, description="of the account")
    base_topic: TopicPrefix = Field(
        default="moondream2mqtt", description="first part of every topic of ours"
    )
    protocol: Literal["auto", "5", "3.1.1"] = Field(
        default="auto", description="auto tries MQTT 5 and falls back to 3.1.1"
    )
    transport: Literal["tcp", "websockets"] = Field(
        default="tcp", description="websockets where a proxy lets nothing else through"
    )
    websocket_path: Text = Field(default="/mqtt", min_length=1, description="path of the websocket")
    client_id: Name | None = Field(
        default=None,
        max_length=100,
        description="stable name of the session on the broker; none: the service's own name, which "
        "is made once and kept in data_dir",
    )
    keepalive: int = Field(
        default=30, ge=5, le=1200, description="seconds; a dead connection is seen after 1.5 of it"
    )
    session_expiry: int = Field(
        default=86400,
        ge=0,
        le=(1 << 32) - 1,
        description="seconds the broker keeps frames for us while we are away",
    )
    receive_maximum: int = Field(
        default=16,
        ge=1,
        le=65535,
        description="unacknowledged frames in flight; more gains nothing and costs memory",
    )
    max_inflight_bytes: int = Field(
        default=16 << 20,
        ge=1 << 20,
        le=_GIB,
        description="bytes received and not yet committed; above it nothing more is read",
    )
    response_topics: tuple[TopicFilter, ...] = Field(
        default=("{base}/response/{camera}/#",),
        description="where a sender's Response Topic may point: patterns with {base}, which is "
        "base_topic, and {camera}, which is the camera of the frame; at most 32 levels",
    )
    tls: TlsSettings = Field(default_factory=TlsSettings, description="encryption")


class StoreSettings(_Section):
    """Where jobs, frames and unsent messages are kept."""

    url: Text | None = Field(
        default=None,
        description="SQLAlchemy URL, e.g. postgresql+asyncpg://user:password@host/name; "
        "none: SQLite in data_dir",
    )
    keep_finished: float = Field(
        default=_WEEK_S,
        ge=1,
        le=3650 * _DAY_S,
        description="seconds a finished job and its frame are kept",
    )
    max_bytes: int = Field(
        default=2 << 30,
        ge=16 << 20,
        le=64 * _TIB,
        description="bytes of frames kept in all; the oldest finished go first",
    )
    max_messages: int = Field(
        default=500_000,
        ge=10_000,
        le=10_000_000,
        description="unsent messages kept for the broker, and as many for all webhook receivers; "
        "beyond it the oldest go to the dead letters. With fewer, a day without a broker may cost "
        "results; with more, looking through them takes seconds",
    )
    max_message_bytes: int = Field(
        default=1 << 30,
        ge=16 << 20,
        le=1 << 40,
        description="the same in bytes; with publish_image a message holds a picture",
    )
    min_free_bytes: int = Field(
        default=512 << 20,
        ge=0,
        le=64 * _TIB,
        description="free disk below which the service degrades",
    )
    cleanup_interval: float = Field(
        default=60.0, ge=0.1, le=_DAY_S, description="seconds between clean-ups"
    )


class ModelSettings(_Section):
    """The model and the device it runs on."""

    name: ModelName = Field(
        default="vikhyatk/moondream2",
        min_length=1,
        description="hub id, or folder with config.json",
    )
    revision: Name = Field(default="2025-06-21", description="pinned; a branch is never followed")
    device: Devices = Field(
        default="auto",
        description="auto, cpu, cuda, cuda:N, mps, or a list: one engine each. auto: cuda where it "
        "is, else cpu; mps, for Macs, has not been tried on one yet",
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="auto: bfloat16 where the device computes in it"
    )
    max_crops: int | None = Field(
        default=None,
        ge=1,
        le=100,
        description="most local crops of a frame, quality against time. auto or none: the model's "
        "own (12); in int8 on a CPU as many as target_seconds allows, by what is measured at the "
        "start",
    )
    target_seconds: float = Field(
        default=20.0,
        ge=0.1,
        le=3600,
        description="seconds that a 1280×720 frame may take where max_crops follows from it; with "
        "one crop it can be more",
    )
    slots: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="frames in the batch; none: from the device's free memory",
    )
    threads: int | None = Field(
        default=None, ge=1, le=1024, description="CPU threads of the engine; none: one per core"
    )
    compile: bool = Field(
        default=False,
        description="torch.compile: minutes at the start, faster steps after; not with int8 on a "
        "CPU",
    )
    quantization: Literal["auto", "none", "int8", "int4"] = Field(
        default="auto",
        description="format of the weights; auto: int8 on a CPU without bfloat16 instructions or "
        "without the memory for it, faster and smaller with nearly the same answers; none where "
        "dtype or compile is set, and elsewhere. On small cards: int8 or int4, with the quantized "
        "extra",
    )
    max_tokens: int = Field(default=256, ge=1, le=768, description="longest answer in tokens")
    max_objects: int = Field(default=50, ge=1, le=150, description="most objects per label")
    temperature: float = Field(
        default=0.0, ge=0, le=2, description="0: the same frame always gives the same words"
    )
    top_p: float = Field(default=0.3, ge=0.01, le=1, description="used above temperature 0")
    load_timeout: float = Field(
        default=900.0,
        ge=5,
        le=_DAY_S,
        description="seconds without progress until loading is given up; a download that moves "
        "is progress",
    )
    step_timeout: float = Field(
        default=120.0,
        ge=5,
        le=_DAY_S,
        description="seconds without a sign of life until the engine is restarted",
    )
    unload_after: float = Field(
        default=0.0,
        ge=0,
        le=_WEEK_S,
        description="seconds without a frame until the device is freed for others; the next frame "
        "loads the model again. 0: never",
    )
    folders: tuple[File, ...] = Field(
        default=(),
        description="folders with models that a model/load request may name, besides the Hugging "
        "Face cache",
    )
    allow_download: bool = Field(
        default=False,
        description="whether a model/load request may fetch a model that is not on this machine; "
        "name always may be",
    )

    @field_validator("max_crops", mode="before")
    @classmethod
    def _none_if_auto(cls, value: object) -> object:
        return None if value == "auto" else value


class QueueSettings(_Section):
    """The heap and the life of a job."""

    capacity: int = Field(
        default=100,
        ge=1,
        le=100_000,
        description="waiting jobs; when full the least important is dropped",
    )
    order: Literal["oldest", "newest", "smallest"] = Field(
        default="oldest", description="inside one priority"
    )
    patience: float = Field(
        default=60.0,
        ge=0.1,
        le=_WEEK_S,
        description="seconds of waiting that lift a frame one class, at most to high: a low one "
        "ranks with normal ones, after as long again with high ones",
    )
    max_age: float = Field(
        default=300.0,
        ge=0.1,
        le=MAX_AGE_S,
        description="seconds from its arrival; a frame whose turn has not come by then expires",
    )
    max_attempts: int = Field(default=3, ge=1, le=10, description="tries of one job")
    retry_delay: float = Field(
        default=2.0, ge=0, le=3600, description="seconds before the second try; doubles each time"
    )
    shutdown_timeout: float = Field(
        default=10.0,
        ge=0,
        le=3600,
        description="seconds running jobs may finish in when the service stops",
    )


class FrameSettings(_Section):
    """What is accepted as an image."""

    max_bytes: int = Field(
        default=4 << 20,
        ge=1024,
        le=256 << 20,
        description="bytes of one image; larger ones are rejected",
    )
    max_pixels: int = Field(
        default=25_000_000,
        ge=1024,
        le=1 << 28,
        description="of a baseline JPEG, which decodes in little memory",
    )
    max_pixels_costly: int = Field(
        default=8_900_000, ge=1024, le=1 << 28, description="of PNG, WebP and progressive JPEG"
    )
    max_side: int = Field(default=8192, ge=16, le=65535, description="longest side in pixels")
    min_side: int = Field(default=16, ge=1, le=8192, description="shortest side in pixels")


class DedupeSettings(_Section):
    """Which frames need no caption of their own."""

    window: float = Field(
        default=300.0,
        ge=0,
        le=_WEEK_S,
        description="seconds in which the same picture is not captioned again",
    )
    similarity: float = Field(
        default=0.97,
        ge=0,
        le=1,
        description="share of the fingerprint that must agree with the camera's last captioned "
        "frame to call it the same scene; 0 captions every frame",
    )


class FetchSettings(_Section):
    """Images behind `frame_url` and `snapshot_url`."""

    allow_hosts: tuple[Name, ...] = Field(
        default=(),
        description="hosts a frame_url, or a snapshot_url that is set at run time, may name: host, "
        "host:port, *.domain or *; a host listed by name may have a private address",
    )
    timeout: float = Field(default=10.0, ge=0.1, le=300, description="seconds for one image")


class WebhookSettings(_Section):
    """Results as HTTP POST."""

    url: Text | None = Field(
        default=None, description="receives every result; cameras may override"
    )
    secret: Secret | None = Field(
        default=None, description="whsec_… (base64); signs every request (Standard Webhooks)"
    )
    allow_hosts: tuple[Name, ...] = Field(
        default=(),
        description="hosts a webhook_url in a frame may name: host, host:port, *.domain or *; a "
        "host listed by name may have a private address",
    )
    timeout: float = Field(
        default=15.0, ge=0.1, le=300, description="seconds for one attempt in all"
    )
    give_up_after: float = Field(
        default=_DAY_S,
        ge=1,
        le=30 * _DAY_S,
        description="seconds of retries until the dead letters",
    )
    concurrency: int = Field(default=4, ge=1, le=128, description="requests at once per receiver")
    max_messages: int = Field(
        default=100_000,
        ge=100,
        le=10_000_000,
        description="unsent messages kept per receiver (scheme, host and port), a day of one a "
        "second; beyond it the oldest go to the dead letters",
    )
    max_bytes: int = Field(default=256 << 20, ge=1 << 20, le=_TIB, description="the same in bytes")


class LoggingSettings(_Section):
    """What is written to stderr."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least severity shown"
    )
    format: Literal["text", "json"] = Field(default="text", description="json: one object a line")
    captions: bool = Field(
        default=True,
        description="whether the line of each caption has its words; off, what cameras see stays "
        "out of the journal",
    )


class Settings(BaseSettings):
    """Everything the operator can set."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        protected_namespaces=(),
        allow_inf_nan=False,
    )

    mqtt: MqttSettings = Field(default_factory=MqttSettings, description="the broker")
    data_dir: File = Field(
        default=Path("./data"),
        description="database, frames and the instance's name; what is downloaded of a model goes "
        "into the Hugging Face cache (HF_HOME), and nothing is written elsewhere",
    )
    store: StoreSettings = Field(default_factory=StoreSettings, description="jobs and frames")
    model: ModelSettings = Field(default_factory=ModelSettings, description="Moondream2")
    queue: QueueSettings = Field(default_factory=QueueSettings, description="the heap")
    frames: FrameSettings = Field(default_factory=FrameSettings, description="limits of images")
    dedupe: DedupeSettings = Field(default_factory=DedupeSettings, description="what is skipped")
    fetch: FetchSettings = Field(default_factory=FetchSettings, description="frame_url")
    webhooks: WebhookSettings = Field(default_factory=WebhookSettings, description="HTTP POST")
    cameras: dict[CameraId, CameraSettings] = Field(
        default_factory=dict, description="settings per camera id"
    )
    max_cameras: int = Field(
        default=256,
        ge=1,
        le=10_000,
        description="most cameras known at once; for one more, that which was silent longest is "
        "forgotten, if it was silent for a day and is not configured",
    )
    sources: tuple[SourceSettings, ...] = Field(
        default=(), description="foreign topics that carry images"
    )
    triggers: tuple[TriggerSettings, ...] = Field(
        default=(), max_length=1024, description="pictures behind HTTP, at motion or by the clock"
    )
    folders: tuple[FolderSettings, ...] = Field(
        default=(), max_length=64, description="pictures and clips that are dropped into folders"
    )
    stats_interval: float = Field(
        default=10.0, ge=0.1, le=3600, description="seconds between bridge/stats and bridge/metrics"
    )
    logging: LoggingSettings = Field(default_factory=LoggingSettings, description="stderr")
    homeassistant: HomeAssistantSettings = Field(
        default_factory=HomeAssistantSettings, description="entities in Home Assistant"
    )
    frigate: FrigateSettings = Field(
        default_factory=FrigateSettings, description="Frigate's objects, and descriptions for them"
    )
    http: HttpSettings = Field(
        default_factory=HttpSettings, description="the same over HTTP, and the live page"
    )

    @model_validator(mode="after")
    def _cameras_are_known(self) -> Self:
        if len(self.cameras) > self.max_cameras:
            raise ValueError(
                f"{len(self.cameras)} cameras are configured: max_cameras must be as many at least"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What `service/configuration.py` puts together of file, environment and options."""
        return (init_settings,)

    def public(self) -> dict[str, Any]:
        """The settings as JSON values; secrets, and URLs that may hold one, are masked.

        So is the client id: where the broker does not bind it to an account, whoever knows it can
        take the session. Cameras are left out where they would make it too large for a message:
        each has a topic of its own; and then triggers.
        """
        content = self.model_dump(mode="json")
        content["mqtt"]["client_id"] = _MASK if self.mqtt.client_id else None
        content["store"]["url"] = _MASK if self.store.url else None
        content["webhooks"]["url"] = _shown(self.webhooks.url)
        content["homeassistant"]["updates_url"] = _shown(self.homeassistant.updates_url)
        content["cameras"] = {
            camera_id: without_secrets(camera).model_dump(mode="json")
            for camera_id, camera in self.cameras.items()
        }
        for shown, trigger in zip(content["triggers"], self.triggers, strict=True):
            shown["url"] = _shown(trigger.url)
            if shown["headers"]:
                shown["headers"] = dict.fromkeys(shown["headers"], _MASK)
        for name in ("cameras", "triggers"):
            if len(json.dumps(content).encode()) > _MOST_SHOWN_BYTES:
                del content[name]
        return content


def without_secrets(camera: CameraSettings) -> CameraSettings:
    """The settings of a camera as anyone may see them."""
    headers = camera.webhook_headers
    return camera.model_copy(
        update={
            "webhook_url": _shown(camera.webhook_url),
            "snapshot_url": _shown(camera.snapshot_url),
            "webhook_headers": dict.fromkeys(headers, _MASK) if headers else headers,
        }
    )


def is_masked(text: str) -> bool:
    """Whether a text is what `without_secrets` shows for a secret."""
    return text.endswith(_MASK)


def _shown(url: str | None) -> str | None:
    """A URL without what may hold a token."""
    return None if url is None else f"{origin(url)}/{_MASK}"
