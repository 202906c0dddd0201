"""Every camera the service knows, and all that is kept for each of them, in one bounded place.

Whoever may publish a frame can invent camera names. So whatever is kept by camera is a field of
`Camera`, at most `max_cameras` of them are known at once, and one that is forgotten leaves nothing
behind: not in memory, not in the store, not among the broker's retained messages.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Protocol

from pydantic import BaseModel, ValidationError

from broker.publisher import address, clear_retained, to_outbox
from broker.topics import Topics
from schemas.camera import CameraSettings
from schemas.outbox import OutboxMessage
from service.boundary import contained
from service.camera import Camera, CameraCounts, Webhook
from service.clock import Clock
from service.errors import ConfigurationError, FrameError, StoreError
from service.settings import Settings, without_secrets
from service.store.cameras import KeptCamera
from service.store.retry import until_stored
from service.store.store import Store

logger = logging.getLogger(__name__)

#: Seconds: a camera that was seen later than this is not forgotten for another.
SILENT_S = 86_400.0
_LONGEST_NAME = 256  # characters
_SURROGATE = re.compile("[\ud800-\udfff]")
_SAVE_EVERY_S = 600.0  # by how much a crash may make a camera look more silent than it was


class Announcer(Protocol):
    """Publishes a document at once, without promise; see `broker.publisher`."""

    def announce(self, document: BaseModel, *, camera_id: str | None = None) -> bool:
        """False when it was not handed over."""

    def keep(self, document: BaseModel, *, camera_id: str) -> None:
        """Publish it again after a reconnect; for now the outbox has it."""

    def forget(self, camera_id: str) -> None:
        """Publish nothing of the camera again after a reconnect."""


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
        self._saved: dict[str, float | None] = {}  # what the store knows of `seen`
        self._saved_names: dict[str, str] = {}  # what it knows of `Camera.name`
        self._leaving: dict[str, float] = {}  # forgotten here, not yet in the store; by `seen`
        self._unsure: set[str] = set()  # the store may have another order than what is effective
        self._subscribers: list[Callable[[str], None]] = []
        self._writing = asyncio.Lock()  # what is written about cameras is written in turn

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
        self._saved_names = {
            camera_id: each.name for camera_id, each in kept.items() if each.name is not None
        }
        self._saved = {name: each.seen for name, each in kept.items()}
        now = self._clock.monotonic()
        named = [each for each in kept if kept[each].overrides]
        for camera_id in dict.fromkeys([*self._settings.cameras, *named]):
            earlier = kept.pop(camera_id, KeptCamera())
            self._load(camera_id, earlier.seen, earlier.overrides)
        self._leave_unseen(kept, now)
        seen = {name: each.seen for name, each in kept.items() if each.seen is not None}
        newest = sorted(seen, key=lambda camera_id: seen[camera_id], reverse=True)
        for camera_id in newest:
            if len(self._cameras) < self._settings.max_cameras:
                self._load(camera_id, kept[camera_id].seen, {})
            else:
                self._leaving[camera_id] = seen[camera_id]
                self._saved.pop(camera_id, None)
                self._saved_names.pop(camera_id, None)

    def _leave_unseen(self, kept: dict[str, KeptCamera], now: float) -> None:
        """Do not know those that were in the file once, and of which no frame has ever come."""
        for camera_id in [name for name, each in kept.items() if each.seen is None]:
            del kept[camera_id]
            self._saved.pop(camera_id, None)
            self._saved_names.pop(camera_id, None)
            if self._store.instances.is_alone:  # on a server it may be in another's file
                self._leaving[camera_id] = now

    def subscribe(self, on_change: Callable[[str], None]) -> None:
        """Be told of each camera that becomes known, changes, or is forgotten; must be quick."""
        self._subscribers.append(on_change)

    def get(self, camera_id: str) -> Camera | None:
        """What is kept for a camera; None when it is not known, or not any more."""
        return self._cameras.get(camera_id)

    def all(self) -> list[Camera]:
        """Those that are known, by name."""
        return [self._cameras[camera_id] for camera_id in sorted(self._cameras)]

    def in_file(self, camera_id: str) -> CameraSettings:
        """The settings of a camera as the operator's file has them, or the defaults."""
        return self._settings.cameras.get(camera_id, CameraSettings())

    def name_of(self, camera_id: str) -> str | None:
        """What a foreign system calls a camera; None where none does, or it is not known."""
        camera = self._cameras.get(camera_id)
        return None if camera is None else camera.name

    def admit(self, camera_id: str, moment: float, name: str | None = None) -> Camera:
        """The camera of a frame that came at a moment; a new one is known from now on.

        Args:
            camera_id: Which.
            moment: When, on the monotonic clock.
            name: What a foreign system calls it.

        Raises:
            FrameError: `too_many_cameras`: it would be one too many, and none may go for it.
        """
        camera = self._cameras.get(camera_id) or self._meet(camera_id, moment)
        camera.name = camera.name or _keepable(name)
        camera.seen = max(camera.seen, moment) if camera.is_seen else moment
        camera.is_seen = True
        return camera

    async def change(self, camera_id: str, changes: Mapping[str, Any]) -> Camera:
        """Change settings of a camera: stored first, then effective for its next frame.

        What is effective is published by the same transaction, so behind all that was said before.

        Args:
            camera_id: Need not be known; it is from now on.
            changes: JSON values by name; None goes back to the file's.

        Raises:
            ConfigurationError: A value does not hold.
            FrameError: `too_many_cameras`.
            StoreError: Nothing has changed.
        """
        async with self._writing:
            known = self._cameras.get(camera_id)
            wanted = {**(known.overrides if known else {}), **changes}
            overrides = {name: value for name, value in wanted.items() if value is not None}
            self._effective(camera_id, overrides)  # or nothing is known of it
            camera = known or self._meet(camera_id, self._clock.monotonic())
            with self._ordered(camera):
                await self._store_overrides(camera_id, overrides)
            camera.overrides = overrides
            self._apply(camera)
            self._tell(camera_id)
        names = ", ".join(sorted(changes))
        logger.info("%s: changed: %s", camera_id, names, extra={"action": "camera_changed"})
        return camera

    async def forget(self, camera_id: str) -> None:
        """Forget a camera that the file does not name, and all that is kept and retained of it.

        Raises:
            StoreError: It is known as before.
        """
        async with self._writing:
            camera = self._cameras.get(camera_id)
            if camera is None:
                return
            camera.is_leaving = True
            try:
                with self._ordered(camera):
                    clearing = self._clearing(camera_id, self._clock.now())
                    await self._store.set_camera_override(camera_id, None, clearing)
                self._drop(camera_id)
            finally:
                camera.is_leaving = False

    async def clear_unwanted(self, retained: Iterable[tuple[str, str]]) -> None:
        """Take back what was retained of cameras while they were forgotten, or their pictures.

        Args:
            retained: Camera and topic of each message.
        """
        now = self._clock.now()
        messages = [row for each in sorted(retained) for row in self._taking_back(*each, now)]
        if messages:
            what = "what is retained and no longer wanted cannot be cleared"
            await until_stored(lambda: self._store.accept((), {}, messages), what)

    def _taking_back(self, camera_id: str, topic: str, now: datetime) -> list[OutboxMessage]:
        camera = self.get(camera_id)
        if camera is None or camera.is_leaving:
            return self._clearing(camera_id, now)
        is_picture = topic == self._topics.image(camera_id)
        is_wanted = not is_picture or camera.settings.publish_image
        return [] if is_wanted else self._clearing(camera_id, now, topic)

    @property
    def is_saved(self) -> bool:
        """Whether the store knows which cameras are known here."""
        is_sure = not self._leaving and not self._unsure
        return is_sure and self._saved.keys() >= self._cameras.keys() and not self._new_names()

    def _new_names(self) -> dict[str, str]:
        """What the store does not know of foreign names."""
        known = {each.camera_id: each.name for each in self._cameras.values() if each.name}
        return {
            camera_id: name
            for camera_id, name in known.items()
            if self._saved_names.get(camera_id) != name
        }

    async def save(self) -> None:
        """Let the store know which cameras are known and when each was seen.

        Raises:
            StoreError: It does not.
        """
        async with self._writing:
            await self._save()

    @contextmanager
    def _ordered(self, camera: Camera) -> Iterator[None]:
        """Store what was ordered; after a failure it is not known whether it was."""
        camera.is_changing = True
        try:
            yield
        except StoreError:
            self._unsure.add(camera.camera_id)
            raise
        finally:
            camera.is_changing = False

    async def _store_overrides(self, camera_id: str, overrides: dict[str, Any]) -> None:
        now = self._clock.now()
        shown = without_secrets(self._effective(camera_id, overrides))
        message = address(shown, self._topics, camera_id=camera_id)
        rows = [to_outbox(message, job_key=None, created_at=now)]
        camera = self.get(camera_id)
        if camera and camera.settings.publish_image and not shown.publish_image:
            rows += self._clearing(camera_id, now, self._topics.image(camera_id))
        await self._store.set_camera_override(camera_id, overrides, rows)
        self._saved.setdefault(camera_id, None)
        self._announcer.keep(shown, camera_id=camera_id)

    async def _save(self) -> None:
        for camera_id in list(self._unsure):  # what is effective counts
            if (camera := self._cameras.get(camera_id)) is not None:
                await self._store_overrides(camera_id, camera.overrides)
            self._unsure.discard(camera_id)
        known = {each.camera_id: each.seen if each.is_seen else None for each in self.all()}
        seen = {
            camera_id: moment
            for camera_id, moment in known.items()
            if camera_id not in self._saved or self._saved[camera_id] != moment
        }
        leaving = dict(self._leaving)
        now = self._clock.now()
        forgotten = {
            camera_id: (last_seen, self._clearing(camera_id, now))
            for camera_id, last_seen in leaving.items()
        }
        names = self._new_names()
        if not seen and not forgotten and not names:
            return
        if new := [self._topics.settings(each) for each in seen if each not in self._saved]:
            await self._store.retained.note(new)
        await self._store.save_cameras(seen, forgotten, names)
        self._saved |= seen
        self._saved_names |= names
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
        self._leaving[camera_id] = self._cameras[camera_id].seen
        self._drop(camera_id)

    def _drop(self, camera_id: str) -> None:
        del self._cameras[camera_id]
        self._saved.pop(camera_id, None)
        self._saved_names.pop(camera_id, None)
        self._announcer.forget(camera_id)
        self._tell(camera_id)
        logger.info("%s forgotten", camera_id, extra={"action": "camera_forgotten"})

    def _clearing(
        self, camera_id: str, now: datetime, topic: str | None = None
    ) -> list[OutboxMessage]:
        """What makes the broker forget a camera's retained messages, or that of one topic."""
        return [
            to_outbox(message, job_key=None, created_at=now)
            for message in clear_retained(self._topics, camera_id)
            if topic in {None, message.topic}
        ]

    def _load(self, camera_id: str, seen: float | None, overrides: dict[str, Any]) -> None:
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

    def _meet(self, camera_id: str, moment: float) -> Camera:
        """Know a new camera, for which another may have to go."""
        self._make_room(moment)
        self._leaving.pop(camera_id, None)
        return self._take(camera_id, None, {})

    def _take(self, camera_id: str, seen: float | None, overrides: dict[str, Any]) -> Camera:
        camera = Camera(
            camera_id,
            self._effective(camera_id, overrides),
            Webhook(),
            self._settings.dedupe.similarity,
            is_in_file=camera_id in self._settings.cameras,
            seen=self._clock.monotonic() if seen is None else seen,
            counts=CameraCounts(self._clock.now()),
            name=self._saved_names.get(camera_id),
            overrides=overrides,
            is_seen=seen is not None,
        )
        self._apply(camera)
        self._cameras[camera_id] = camera
        with contained(f"the settings of {camera_id} cannot be published"):
            self._announcer.announce(without_secrets(camera.settings), camera_id=camera_id)
        self._tell(camera_id)
        return camera

    def _tell(self, camera_id: str) -> None:
        for on_change in self._subscribers:
            with contained(f"a change of {camera_id} cannot be passed on"):
                on_change(camera_id)

    def _apply(self, camera: Camera) -> None:
        """Let what was changed at run time be effective."""
        camera.settings = self._effective(camera.camera_id, camera.overrides)
        camera.webhook = self._webhook(camera.settings, camera.overrides)
        own = camera.settings.similarity
        camera.similarity = self._settings.dedupe.similarity if own is None else own

    def _webhook(self, settings: CameraSettings, overrides: dict[str, Any]) -> Webhook:
        """Where results go; a URL set at run time is trusted no more than one in a frame.

        Nor does it get the file's headers, which may hold a token.
        """
        if settings.webhook_url is None:
            return Webhook(self._settings.webhooks.url, settings.webhook_headers)
        if "webhook_url" not in overrides:
            return Webhook(settings.webhook_url, settings.webhook_headers)
        headers = settings.webhook_headers if "webhook_headers" in overrides else None
        return Webhook(settings.webhook_url, headers, is_trusted=False)

    def _effective(self, camera_id: str, overrides: dict[str, Any]) -> CameraSettings:
        configured = self.in_file(camera_id)
        try:
            return CameraSettings.model_validate({**configured.model_dump(), **overrides})
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            path = ".".join(str(part) for part in ("cameras", camera_id, *first["loc"]))
            raise ConfigurationError(f"{path}: {first['msg']}") from error


def _keepable(name: str | None) -> str | None:
    """A name that any database takes; a longer one is told apart without being kept."""
    is_short = name is not None and len(name) <= _LONGEST_NAME and "\0" not in name
    return name if name and is_short and not _SURROGATE.search(name) else None
