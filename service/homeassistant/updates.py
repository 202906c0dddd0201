"""Whether there is a newer release, asked once a day; only where the operator wants it.

The answer is not ours: it is bounded, and what is shown of it is checked.
"""

import asyncio
import json
import logging
import re
from collections.abc import Mapping
from typing import Protocol

import httpx
from pydantic import BaseModel

from schemas.status import UpdateStatus
from service.errors import ServiceError, UrlRefusedError
from service.http.exchange import http_errors
from service.http.urls import GuardedHttp, is_public_or_private, origin, parse_url

logger = logging.getLogger(__name__)

_EVERY_S = 86_400.0
# At the start the network may not be there yet, and what an older version published is still shown.
_RETRY_S = 3600.0
_TIMEOUT_S = 10.0
_MOST_BYTES = 1 << 20  # PyPI's has 2 KB for each release there ever was
_VERSION = re.compile(r"v?(\d[0-9A-Za-z.+!_-]{0,62})", re.ASCII)


class Announcer(Protocol):
    """Publishes a document; see `broker.publisher`."""

    def announce(self, document: BaseModel) -> bool:
        """False when it was not handed over."""


class UpdateError(ServiceError):
    """The newest release is not known."""


class UpdateCheck:
    """Publishes `bridge/update`.

    Args:
        url: JSON with `version`, `tag_name` or `info.version`.
        version: The one that runs.
        http: Makes the guarded client.
        announcer: Takes the document.
        retry_s: Until it is asked again after a failure.
    """

    def __init__(
        self,
        url: str,
        version: str,
        http: GuardedHttp,
        announcer: Announcer,
        retry_s: float = _RETRY_S,
    ) -> None:
        self._url = url
        self._version = version
        self._http = http
        self._announcer = announcer
        self._retry_s = retry_s

    async def run(self) -> None:
        """Ask for ever; failures that follow each other are one line in the log."""
        has_told = False
        while True:
            try:
                self._announcer.announce(await self.ask())
            except (UpdateError, UrlRefusedError) as error:
                if not has_told:
                    logger.warning("no news of releases: %s", error, extra={"action": "no_news"})
                has_told = True
                await asyncio.sleep(self._retry_s)
            else:
                has_told = False
                await asyncio.sleep(_EVERY_S)

    async def ask(self) -> UpdateStatus:
        """Ask once.

        Raises:
            UpdateError: There is no answer, or none that names a version.
            UrlRefusedError: The address may not be reached.
        """
        try:
            with http_errors():
                async with asyncio.timeout(_TIMEOUT_S):
                    return self._read(await self._get())
        except TimeoutError as error:
            raise UpdateError(f"{origin(self._url)} did not answer in time") from error
        except httpx.HTTPError as error:
            raise UpdateError(f"{origin(self._url)}: {type(error).__name__} {error}") from error

    async def _get(self) -> bytes:
        headers = {
            "accept": "application/json",
            "accept-encoding": "identity",
            "connection": "close",
            "user-agent": f"moondream2mqtt/{self._version}",
        }
        client = self._http.client(is_public_or_private, _TIMEOUT_S)
        request = client.stream("GET", parse_url(self._url), headers=headers)
        async with client, request as response:
            if response.status_code != httpx.codes.OK:
                raise UpdateError(f"{origin(self._url)} answered {response.status_code}")
            content = bytearray()
            async for chunk in response.aiter_raw(16384):
                content += chunk
                if len(content) > _MOST_BYTES:
                    raise UpdateError(f"{origin(self._url)} sent more than {_MOST_BYTES} bytes")
            return bytes(content)

    def _read(self, content: bytes) -> UpdateStatus:
        try:
            document = json.loads(content)
        except (ValueError, RecursionError):
            document = None
        found = document if isinstance(document, Mapping) else {}
        info = found.get("info")
        inner = info if isinstance(info, Mapping) else {}
        for named in (found.get("version"), found.get("tag_name"), inner.get("version")):
            if isinstance(named, str) and (version := _VERSION.fullmatch(named)):
                return UpdateStatus(
                    installed_version=self._version,
                    latest_version=version[1],
                    release_url=_link(found.get("html_url"), inner.get("release_url")),
                )
        raise UpdateError(f"{origin(self._url)} names no version")


def _link(*candidates: object) -> str:
    """The first that is a URL, or nothing."""
    for each in candidates:
        if isinstance(each, str):
            try:
                return str(parse_url(each))
            except UrlRefusedError:
                continue
    return ""
