"""What is asked of Frigate, and what its answers mean.

Releases differ (known: 0.16 to 0.18): an answer is JSON of which only what is needed is looked at.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

from schemas.status import HealthCheck
from service.clock import Clock
from service.errors import (
    AnswerTooLargeError,
    FrigateAccessError,
    FrigateError,
    FrigateUnknownError,
)
from service.frigate.session import FrigateSession
from service.frigate_settings import FrigateSettings
from service.http.operator_http import Answer, OperatorHttp

MAX_SUB_LABEL = 100  # characters, Frigate's own limit

_EVENT_BYTES = 1 << 20  # 10 KiB are usual; the path of an object that stays for hours is long
_EVENTS_BYTES = 8 << 20
_CONFIG_BYTES = 8 << 20  # of a hundred cameras
_SHORT_BYTES = 64 * 1024
_MOST_CONTAINERS = 200_000  # lists and objects of an answer; each costs 60 bytes and more
_CONFIG_KEPT_S = 60.0
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")

_CLEAN = ("snapshot-clean.webp", "snapshot-clean.png")  # from 0.17, up to 0.16
# Before 0.18 the query only counts while the object is tracked.
_DRAWN = "snapshot.jpg?bbox=0&timestamp=0&quality=95"


@dataclass(frozen=True, slots=True)
class Account:
    """Who we are for Frigate."""

    name: str
    role: str  #: `admin` may write


class FrigateApi:
    """Frigate, as the service uses it.

    Args:
        settings: Where it is, and the account; with a URL.
        http: Makes the exchanges.
        max_image_bytes: Of a snapshot.
        clock: For pauses between logins.
        version: Of the package.
    """

    def __init__(
        self,
        settings: FrigateSettings,
        http: OperatorHttp,
        max_image_bytes: int,
        clock: Clock,
        version: str,
    ) -> None:
        self._session = FrigateSession(settings, http, clock, version)
        self._crop = settings.crop
        self._max_image_bytes = max_image_bytes
        self._clock = clock
        self._config: dict[str, Any] | None = None
        self._config_until = 0.0

    @property
    def where(self) -> str:
        """The part of its URL that may be shown."""
        return self._session.where

    def check(self) -> HealthCheck:
        """Whether the last request worked, and the role is high enough."""
        return self._session.check()

    async def version(self) -> str:
        """Its release, e.g. `0.17.2-abcdef`."""
        answer = await self._get("/version", _SHORT_BYTES)
        text = answer.body.decode(errors="replace").strip()
        if not text or len(text) > 100 or "<" in text:
            raise FrigateError(f"{self.where} does not say a version; is it Frigate?")
        return text

    async def account(self) -> Account:
        """Who we are."""
        profile = await self._object("/profile", _SHORT_BYTES)
        return Account(str(profile.get("username", "")), str(profile.get("role", "")))

    async def config(self) -> dict[str, Any]:
        """Its configuration, at most a minute old."""
        now = self._clock.monotonic()
        if self._config is None or now >= self._config_until:
            self._config = await self._object("/config", _CONFIG_BYTES)
            self._config_until = now + _CONFIG_KEPT_S
        return self._config

    async def event(self, event_id: str) -> dict[str, Any] | None:
        """An object as its database has it; None: it is not there, perhaps not yet.

        Raises:
            HostError: Frigate does not answer.
            FrigateError: It does not tell; see `service.errors`.
        """
        try:
            return await self._object(f"/events/{quote(event_id, safe='')}", _EVENT_BYTES)
        except FrigateUnknownError:
            return None

    async def events(self, *, after: float, limit: int) -> list[dict[str, Any]]:
        """Objects that came after a moment (seconds since 1970), the newest first."""
        path = f"/events?after={after:.3f}&limit={limit}&include_thumbnails=0"
        found = self._read(await self._get(path, _EVENTS_BYTES))
        if not isinstance(found, list):
            raise self._unreadable()
        return [each for each in found if isinstance(each, dict)]

    async def snapshot(self, event_id: str, *, crop: bool | None = None) -> bytes:
        """The best picture of an object, with nothing drawn into it where Frigate has that.

        Args:
            event_id: Which; it may still be tracked.
            crop: The object alone; None: as the settings say.

        Raises:
            FrigateUnknownError: There is none.
            HostError: Frigate does not answer.
            FrigateError: It cannot be had; see `service.errors`.
        """
        below = f"/events/{quote(event_id, safe='')}"
        names = (*_CLEAN, f"{_DRAWN}&crop=0")
        if self._crop if crop is None else crop:
            names = (f"{_DRAWN}&crop=1", *_CLEAN)
        refusal: FrigateError = FrigateUnknownError(
            f"{self.where} has no snapshot of {event_id}; are snapshots enabled there?"
        )
        for name in names:
            try:
                answer = await self._get(f"{below}/{name}", self._max_image_bytes)
            except FrigateAccessError:
                raise
            except FrigateUnknownError:
                continue
            except FrigateError as error:
                refusal = error
                continue
            if _is_picture(answer.body):
                return answer.body
            refusal = FrigateError(
                f"{self.where} sent {len(answer.body)} bytes as {name.partition('?')[0]} that are "
                "no picture"
            )
        raise refusal

    async def write_description(self, event_id: str, text: str) -> None:
        """Set the description of an object; only after its end does it stay.

        Raises:
            HostError: Frigate does not answer; it may have done it.
            FrigateError: It has refused; see `service.errors`.
        """
        await self._post(f"/events/{quote(event_id, safe='')}/description", {"description": text})

    async def write_sub_label(self, event_id: str, label: str, score: float) -> None:
        """Set the sub label of an object; it is there a moment later.

        Args:
            event_id: Which.
            label: At most `MAX_SUB_LABEL` characters.
            score: Above 0, at most 1.
        """
        body = {"subLabel": label, "subLabelScore": score}
        await self._post(f"/events/{quote(event_id, safe='')}/sub_label", body)

    async def describes_itself(self, camera: str) -> bool:
        """Whether Frigate writes descriptions of its own for a camera (its name)."""
        return describes_itself(await self.config(), camera)

    async def _post(self, path: str, body: Mapping[str, object]) -> None:
        await self._request("POST", path, _EVENT_BYTES, body)

    async def _object(self, path: str, max_bytes: int) -> dict[str, Any]:
        found = self._read(await self._get(path, max_bytes))
        if not isinstance(found, dict):
            raise self._unreadable()
        return found

    async def _get(self, path: str, max_bytes: int) -> Answer:
        return await self._request("GET", path, max_bytes)

    async def _request(
        self, method: str, path: str, max_bytes: int, body: Mapping[str, object] | None = None
    ) -> Answer:
        try:
            answer = await self._session.request(method, path, json=body, max_bytes=max_bytes)
        except AnswerTooLargeError as error:
            raise FrigateError(str(error)) from error
        what = f"{self.where} answered {answer.status} to {path.partition('?')[0]}"
        if answer.status == httpx.codes.NOT_FOUND:
            raise FrigateUnknownError(what)
        if answer.status != httpx.codes.OK:
            raise FrigateError(what)
        return answer

    def _read(self, answer: Answer) -> Any:
        if answer.body.count(b"[") + answer.body.count(b"{") > _MOST_CONTAINERS:
            raise FrigateError(f"{self.where} answered with too much")
        try:
            return json.loads(answer.body)
        except (ValueError, RecursionError) as error:
            raise self._unreadable() from error

    def _unreadable(self) -> FrigateError:
        return FrigateError(f"{self.where} answered with something else than Frigate's JSON")


def describes_itself(config: Mapping[str, Any], camera: str) -> bool:
    """Whether Frigate's own descriptions of objects are on for a camera, by its configuration."""
    found = _inside(config, "cameras", camera)
    switches = (
        _inside(found, "objects", "genai").get("enabled"),  # from 0.17
        _inside(found, "genai").get("enabled"),  # up to 0.16
    )
    return True in switches


def mqtt_prefix(config: Mapping[str, Any]) -> str | None:
    """The prefix of its topics; None: it publishes nothing."""
    mqtt = _inside(config, "mqtt")
    prefix = mqtt.get("topic_prefix", "frigate")
    return prefix if mqtt.get("enabled", True) is True and isinstance(prefix, str) else None


def _inside(content: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    for key in keys:
        found = content.get(key)
        content = found if isinstance(found, dict) else {}
    return content


def _is_picture(body: bytes) -> bool:
    return body.startswith(_MAGIC) or (body[:4] == b"RIFF" and body[8:12] == b"WEBP")
