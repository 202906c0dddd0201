"""What each camera is set to: the configuration file, overlaid by changes made at run time.

Changes are kept in the store, so they survive a restart; the effective settings are published
retained whenever they change.
"""

import logging
from typing import Any, Protocol

from pydantic import BaseModel, ValidationError

from schemas.camera import CameraSettings
from service.errors import ConfigurationError
from service.settings import Settings, without_secrets
from service.store.store import Store

logger = logging.getLogger(__name__)


class Announcer(Protocol):
    """Publishes a document at once, without promise; see `broker.publisher`."""

    def announce(self, document: BaseModel, *, camera_id: str) -> bool:
        """False when it was not handed over."""


class Cameras:
    """Effective settings by camera.

    Args:
        settings: The file's `cameras` section and the global defaults.
        store: Keeps the changes.
        announcer: Publishes what is effective, without secrets.
    """

    def __init__(self, settings: Settings, store: Store, announcer: Announcer) -> None:
        self._settings = settings
        self._store = store
        self._announcer = announcer
        self._effective: dict[str, CameraSettings] = {}
        self._overrides: dict[str, dict[str, Any]] = {}

    async def load(self) -> None:
        """Read the changes of earlier runs; what does not hold any more is ignored."""
        self._effective.clear()
        for camera_id, override in (await self._store.camera_overrides()).items():
            try:
                self._merge(camera_id, override)
            except ConfigurationError as error:
                logger.error(
                    "camera %s: what was changed at run time is ignored: %s",
                    camera_id,
                    error,
                    extra={"action": "override_unreadable"},
                )
            else:
                self._overrides[camera_id] = override
        for camera_id in {*self._settings.cameras, *self._overrides}:
            self.get(camera_id)

    def get(self, camera_id: str) -> CameraSettings:
        """The effective settings; a camera nobody configured has the defaults."""
        if camera_id not in self._effective:
            override = self._overrides.get(camera_id, {})
            self._take(camera_id, self._merge(camera_id, override))
        return self._effective[camera_id]

    async def change(self, camera_id: str, changes: dict[str, Any]) -> CameraSettings:
        """Change settings and keep them across restarts.

        Raises:
            ConfigurationError: An unknown setting or a bad value; the message names it.
        """
        override = {**self._overrides.get(camera_id, {}), **changes}
        effective = self._merge(camera_id, override)
        await self._store.set_camera_override(camera_id, override)
        self._overrides[camera_id] = override
        self._take(camera_id, effective)
        return effective

    def webhook(self, camera_id: str) -> tuple[str | None, bool]:
        """Where this camera's results go, and whether the configuration file says so.

        A URL that was set at run time came over MQTT and is trusted no more than one in a frame.
        """
        url = self.get(camera_id).webhook_url
        if url is None:
            return self._settings.webhooks.url, True
        return url, "webhook_url" not in self._overrides.get(camera_id, {})

    def similarity(self, camera_id: str) -> float:
        """How alike two frames must be to be the same scene; 0 turns the check off."""
        own = self.get(camera_id).similarity
        return self._settings.dedupe.similarity if own is None else own

    def _take(self, camera_id: str, effective: CameraSettings) -> None:
        self._effective[camera_id] = effective
        self._announcer.announce(without_secrets(effective), camera_id=camera_id)

    def _merge(self, camera_id: str, override: dict[str, Any]) -> CameraSettings:
        configured = self._settings.cameras.get(camera_id, CameraSettings())
        try:
            return CameraSettings.model_validate({**configured.model_dump(), **override})
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            path = ".".join(str(part) for part in ("cameras", camera_id, *first["loc"]))
            raise ConfigurationError(f"{path}: {first['msg']}") from error
