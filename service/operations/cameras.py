"""Requests about cameras: look at them, change their settings, forget them."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Protocol

from schemas.job import JobStatus
from schemas.requests.cameras import (
    CAMERA_FORGET,
    CAMERA_GET,
    CAMERA_LIST,
    CAMERA_RESET,
    CAMERA_SET,
    SETTINGS,
    CameraDetail,
    CameraFilter,
    CameraName,
    CameraPage,
    CameraReset,
    CameraView,
    Forgotten,
    Origin,
    changes_of,
)
from schemas.requests.jobs import Pagination
from schemas.requests.operation import Bound
from service.camera import Camera
from service.cameras import Cameras
from service.clock import Clock
from service.errors import ConfigurationError, FrameError, UrlRefusedError
from service.operations.operations import OperationError
from service.settings import is_masked, without_secrets


class UrlPolicy(Protocol):
    """Which addresses others than the operator may name; see `service.http.urls`."""

    def check_webhook(self, url: str) -> None:
        """Raises UrlRefusedError."""

    def check_fetch(self, url: str) -> None:
        """Raises UrlRefusedError."""


class CameraOperations:
    """Answers requests about cameras.

    Args:
        cameras: The registry.
        urls: What a URL that is set at run time must pass, as one in a frame.
        clock: For ages.
    """

    def __init__(self, cameras: Cameras, urls: UrlPolicy, clock: Clock) -> None:
        self._cameras = cameras
        self._urls = urls
        self._clock = clock

    def bound(self) -> Sequence[Bound]:
        """What can be asked for here."""
        return (
            CAMERA_LIST.bind(self.list),
            CAMERA_GET.bind(self.get),
            CAMERA_SET.bind(self.set),
            CAMERA_RESET.bind(self.reset),
            CAMERA_FORGET.bind(self.forget),
        )

    async def list(self, request: CameraFilter) -> CameraPage:
        """A page of the cameras that are known."""
        known = self._cameras.all()
        page = known[request.offset : request.offset + request.limit]
        has_more = request.offset + len(page) < len(known)
        return CameraPage(
            count=len(known),
            items=tuple(self._view(camera) for camera in page),
            pagination=Pagination(limit=request.limit, offset=request.offset, has_more=has_more),
        )

    async def get(self, request: CameraName) -> CameraDetail:
        """A camera with its settings."""
        return self._detail(self._find(request.camera_id))

    async def set(self, request: CameraName) -> CameraDetail:
        """Change settings of a camera; one that is not known becomes known."""
        changes = changes_of(request)
        if not changes:
            raise OperationError("bad_request", f"name a setting: {', '.join(SETTINGS)}")
        if all(value is None for value in changes.values()):
            self._find(request.camera_id)  # nothing to go back to
        self._check_urls(changes)
        return await self._change(request.camera_id, changes)

    async def reset(self, request: CameraReset) -> CameraDetail:
        """Go back to the file's settings."""
        changed = self._find(request.camera_id).overrides
        names = changed if request.setting is None else (request.setting,)
        return await self._change(request.camera_id, dict.fromkeys(names))

    async def forget(self, request: CameraName) -> Forgotten:
        """Forget a camera that the file does not name."""
        if self._find(request.camera_id).is_in_file:
            raise OperationError(
                "wrong_state",
                f"{request.camera_id} is configured in the file; take it out there, or switch it "
                "off with camera/set",
            )
        await self._cameras.forget(request.camera_id)
        return Forgotten(camera_id=request.camera_id)

    async def _change(self, camera_id: str, changes: Mapping[str, Any]) -> CameraDetail:
        try:
            return self._detail(await self._cameras.change(camera_id, changes))
        except FrameError as error:
            raise OperationError(error.code, str(error)) from error
        except ConfigurationError as error:
            raise OperationError("bad_request", str(error)) from error

    def _check_urls(self, changes: Mapping[str, Any]) -> None:
        """Refuse an address that no frame may name, and what was copied from a published document.

        Raises:
            OperationError: `bad_request`.
        """
        for name, value in (changes.get("webhook_headers") or {}).items():
            if is_masked(value):
                raise OperationError("bad_request", f"webhook_headers.{name}: is masked")
        checks = {"webhook_url": self._urls.check_webhook, "snapshot_url": self._urls.check_fetch}
        for name, check in checks.items():
            if (url := changes.get(name)) is None:
                continue
            if is_masked(url):
                raise OperationError("bad_request", f"{name}: is masked; leave it out to keep it")
            try:
                check(url)
            except UrlRefusedError as error:
                raise OperationError("bad_request", f"{name}: {error}") from error

    def _find(self, camera_id: str) -> Camera:
        if (camera := self._cameras.get(camera_id)) is None:
            raise OperationError("not_found", f"there is no camera {camera_id}")
        return camera

    def _detail(self, camera: Camera) -> CameraDetail:
        return CameraDetail(
            **vars(self._view(camera)),
            settings=without_secrets(camera.settings),
            origins={name: self._origin(camera, name) for name in SETTINGS},
        )

    def _origin(self, camera: Camera, name: str) -> Origin:
        if name in camera.overrides:
            return "changed"
        in_file = self._cameras.in_file(camera.camera_id)
        return "file" if name in in_file.model_fields_set else "default"

    def _view(self, camera: Camera) -> CameraView:
        now, counts = self._clock.monotonic(), camera.counts
        age = max(0.0, now - camera.seen) if camera.is_seen else None
        newest = counts.captioned_at
        return CameraView(
            camera_id=camera.camera_id,
            location=camera.settings.location,
            enabled=camera.settings.enabled,
            configured=camera.is_in_file,
            changed=tuple(sorted(camera.overrides)),
            last_seen_at=None if age is None else self._clock.now() - timedelta(seconds=age),
            last_seen_age=None if age is None else round(age, 3),
            since=counts.since,
            frames=counts.frames,
            captions=counts.captions,
            newest_caption_age=None if newest is None else round(max(0.0, now - newest), 3),
            dropped=dict(counts.reasons[JobStatus.DROPPED]),
            duplicates=dict(counts.reasons[JobStatus.DUPLICATE]),
            rejected=dict(counts.reasons[JobStatus.REJECTED]),
            failed=dict(counts.reasons[JobStatus.FAILED]),
            expired=counts.reasons[JobStatus.EXPIRED].total(),
            cancelled=counts.reasons[JobStatus.CANCELLED].total(),
        )
