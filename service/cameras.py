"""Every camera the service knows, and all that is kept for each of them, in one bounded place.

Whoever may publish a frame can invent camera names. So whatever is kept by camera is a field of
`Camera`, at most `max_cameras` of them are known at once, and one that is forgotten leaves nothing
behind: not in memory, not in the store, not among the broker's retained messages.
"""

import asyncio
import logging
from dataclasses import dataclass
from datetime import datetime
from math import inf
from typing import Any, Protocol

from pydantic import BaseModel, ValidationError

from broker.publisher import clear_retained, to_outbox
from broker.topics import Topics
from schemas.camera import CameraSettings
from schemas.outbox import OutboxMessage
from service.boundary import contained
from service.clock import Clock
from service.errors import ConfigurationError, FrameError, StoreError
from service.settings import Settings, without_secrets
from service.store.cameras import KeptCamera
from service.store.store import Store

logger = logging.getLogger(__name__)

#: Seconds: a camera that was seen later than this is not forgotten for another.
SILENT_S = 86_400.0
_SAVE_EVERY_S = 600.0  # by how much a crash may make a camera look more silent than it was


class Announcer(Protocol):
    """Publishes a document at once, without promise; see `broker.publisher`."""

    def announce(self, document: BaseModel, *, camera_id: str | None = None) -> bool:
        """False when it was not handed over."""

    def forget(self, camera_id: str) -> None:
        """Publish nothing of the camera again after a reconnect."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where a camera's results are POSTed."""

    url: str | None = None
    headers: dict[str, str] | None = None
    is_trusted: bool = True  #: the operator's file names the URL


@dataclass(frozen=True, slots=True)
class SeenFrame:
    """What a frame that is being captioned, or was, looked like; see `engine.fingerprint`."""

    key: str
    fingerprint: bytes
    seen_at: float  #: on the monotonic clock
    importance: int


@dataclass(slots=True)
class Camera:
    """One camera and everything that is kept for it; moments are on the monotonic clock."""

    camera_id: str
    settings: CameraSettings  #: the file's, overlaid by changes at run time
    webhook: Webhook
    similarity: float  #: how alike two frames must be to be the same scene; 0: never
    is_configured: bool  #: named by the operator, so never forgotten
    seen: float  #: when its newest frame came
    last_accepted: float = -inf  #: for the cooldown
    newest_caption_at: datetime | None = None  #: arrival of its frame; None: the store knows
    #: What its next frame is compared with, oldest first; None: the store knows.
    last_frames: list[SeenFrame] | None = None


class Cameras:
    """The registry.

    Args:
        settings: The file's `cameras`, `webhooks` and `dedupe` sections, and `max_cameras`.
        topics: Names of the topics that are cleared.
        store: Keeps changes made at run time, and which cameras have been seen.
        announcer: Publishes what is effective, without secrets.
        clock: For silences.
    """

    def __init__(
        self,
        settings: Settings,
        topics: Topics,
        store: Store,
        announcer: Announcer,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._topics = topics
        self._store = store
        self._announcer = announcer
        self._clock = clock
        self._cameras: dict[str, Camera] = {}
        self._saved: dict[str, float] = {}  # `seen`, as the store knows it
        self._leaving: dict[str, float] = {}  # forgotten here, not yet in the store; by `seen`

    def __len__(self) -> int:
        return len(self._cameras)

    def __contains__(self, camera_id: str) -> bool:
        return camera_id in self._cameras

    async def load(self) -> None:
        """Know the configured cameras, and those of earlier runs as far as there is room.

        Raises:
            StoreError: They cannot be read.
        """
        kept = await self._store.kept_cameras()
        self._saved = {name: each.seen for name, each in kept.items() if each.seen is not None}
        now = self._clock.monotonic()
        named = [each for each in kept if kept[each].overrides]
        for camera_id in dict.fromkeys([*self._settings.cameras, *named]):
            earlier = kept.pop(camera_id, KeptCamera())
            self._load(camera_id, now if earlier.seen is None else earlier.seen, earlier.overrides)
        seen = {name: now if each.seen is None else each.seen for name, each in kept.items()}
        newest = sorted(seen, key=lambda camera_id: seen[camera_id], reverse=True)
        for camera_id in newest:
            if len(self._cameras) < self._settings.max_cameras:
                self._load(camera_id, seen[camera_id], {})
            else:
                self._leaving[camera_id] = seen[camera_id]
                self._saved.pop(camera_id, None)

    def get(self, camera_id: str) -> Camera | None:
        """What is kept for a camera; None when it is not known, or not any more."""
        return self._cameras.get(camera_id)

    def admit(self, camera_id: str, moment: float) -> Camera:
        """The camera of a frame that came at a moment; a new one is known from now on.

        Raises:
            FrameError: `too_many_cameras`: it would be one too many, and none may go for it.
        """
        camera = self._cameras.get(camera_id)
        if camera is None:
            self._make_room(moment)
            self._leaving.pop(camera_id, None)
            camera = self._take(camera_id, moment, {})
        camera.seen = max(camera.seen, moment)
        return camera

    @property
    def is_saved(self) -> bool:
        """Whether the store knows which cameras are known here."""
        return not self._leaving and self._saved.keys() >= self._cameras.keys()

    async def save(self) -> None:
        """Let the store know which cameras are known and when each was seen.

        Raises:
            StoreError: It does not.
        """
        seen = {
            each.camera_id: each.seen
            for each in self._cameras.values()
            if self._saved.get(each.camera_id) != each.seen
        }
        leaving = dict(self._leaving)
        now = self._clock.now()
        forgotten = {
            camera_id: (last_seen, self._clearing(camera_id, now))
            for camera_id, last_seen in leaving.items()
        }
        if not seen and not forgotten:
            return
        await self._store.save_cameras(seen, forgotten)
        self._saved |= seen
        for camera_id, last_seen in leaving.items():
            if self._leaving.get(camera_id) == last_seen:
                del self._leaving[camera_id]

    async def run(self) -> None:
        """Keep for ever when each camera was seen."""
        while True:
            await asyncio.sleep(_SAVE_EVERY_S)
            try:
                await self.save()
            except StoreError as error:
                logger.warning("cameras not saved: %s", error, extra={"action": "store_failed"})

    def _make_room(self, now: float) -> None:
        """Forget the camera that was silent longest, if one has to go."""
        most = self._settings.max_cameras
        if len(self._cameras) < most:
            return
        silent = [
            each
            for each in self._cameras.values()
            if not each.is_configured and now - each.seen > SILENT_S
        ]
        if not silent:
            raise FrameError(
                "too_many_cameras",
                f"{most} cameras are known already (max_cameras), and each is configured or was "
                "seen within a day",
            )
        self._forget(min(silent, key=lambda each: each.seen).camera_id)

    def _forget(self, camera_id: str) -> None:
        """Know a camera no longer; the store and the broker hear of it with the next `save`."""
        self._leaving[camera_id] = self._cameras.pop(camera_id).seen
        self._saved.pop(camera_id, None)
        self._announcer.forget(camera_id)
        logger.info("%s forgotten", camera_id, extra={"action": "camera_forgotten"})

    def _clearing(self, camera_id: str, now: datetime) -> list[OutboxMessage]:
        """What makes the broker forget a camera's retained messages."""
        return [
            to_outbox(message, job_key=None, created_at=now)
            for message in clear_retained(self._topics, camera_id)
        ]

    def _load(self, camera_id: str, seen: float, overrides: dict[str, Any]) -> None:
        """Know a camera; by the file alone where what was changed at run time does not hold.

        Its webhook is the file's then as well: a URL that was set at run time must not pass for it.
        """
        try:
            self._take(camera_id, seen, overrides)
            return
        except ConfigurationError as error:  # written by a version with other settings
            logger.error("what was set at run time is ignored: %s", error)
        except Exception:
            logger.exception("what was set at run time is ignored: cameras.%s", camera_id)
        with contained(f"cameras.{camera_id} cannot be known"):
            self._take(camera_id, seen, {})

    def _take(self, camera_id: str, seen: float, overrides: dict[str, Any]) -> Camera:
        settings = self._effective(camera_id, overrides)
        own = settings.similarity
        camera = Camera(
            camera_id,
            settings,
            self._webhook(settings, overrides),
            self._settings.dedupe.similarity if own is None else own,
            camera_id in self._settings.cameras or bool(overrides),
            seen,
        )
        self._cameras[camera_id] = camera
        with contained(f"the settings of {camera_id} cannot be published"):
            self._announcer.announce(without_secrets(settings), camera_id=camera_id)
        return camera

    def _webhook(self, settings: CameraSettings, overrides: dict[str, Any]) -> Webhook:
        """Where results go; a URL set at run time is trusted no more than one in a frame."""
        if settings.webhook_url is None:
            return Webhook(self._settings.webhooks.url, settings.webhook_headers)
        is_trusted = "webhook_url" not in overrides
        return Webhook(settings.webhook_url, settings.webhook_headers, is_trusted)

    def _effective(self, camera_id: str, overrides: dict[str, Any]) -> CameraSettings:
        configured = self._settings.cameras.get(camera_id, CameraSettings())
        try:
            return CameraSettings.model_validate({**configured.model_dump(), **overrides})
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            path = ".".join(str(part) for part in ("cameras", camera_id, *first["loc"]))
            raise ConfigurationError(f"{path}: {first['msg']}") from error
