"""Fetches the image behind a URL, within limits of address, bytes and time.

A `frame_url` was written by a camera: the host must be in `fetch.allow_hosts`, redirects are not
followed and the address is checked when connecting (`service.http.urls`). What the operator's file
names may be anywhere in the house, and may have a user and a password.
"""

import asyncio

import httpx

from service.errors import FrameError
from service.http.exchange import http_errors
from service.http.urls import (
    AllowedHosts,
    GuardedHttp,
    is_public_or_private,
    origin,
    parse_url,
)
from service.settings import FetchSettings

_MOST_AT_ONCE = 8  # images of 4 MiB: bounds memory, and what a slow host can hold up


class ImageFetcher:
    """Gets images over HTTP.

    Args:
        settings: Hosts and the time for one image.
        max_bytes: Of one image.
        http: Makes the guarded clients.
        version: Of the package, for `User-Agent`.

    Raises:
        ConfigurationError: A host in the settings is malformed.
    """

    def __init__(
        self, settings: FetchSettings, max_bytes: int, *, http: GuardedHttp, version: str
    ) -> None:
        self._settings = settings
        self._max_bytes = max_bytes
        self._http = http
        self._headers = {
            "accept": "image/jpeg, image/png, image/webp",
            "accept-encoding": "identity",
            "connection": "close",
            "user-agent": f"moondream2mqtt/{version}",
        }
        self._allowed = AllowedHosts(settings.allow_hosts, "fetch.allow_hosts")
        self._slots = asyncio.Semaphore(_MOST_AT_ONCE)

    async def fetch(self, url: str, *, is_trusted: bool = False) -> bytes:
        """Return the bytes behind a URL; whether they are an image is for `engine.images` to say.

        Args:
            url: Where.
            is_trusted: The operator's file names it.

        Raises:
            UrlRefusedError: The URL or its address is not allowed.
            FrameError: `too_many_bytes`, or `fetch_failed`: the host does not answer with an image
                in time.
        """
        async with self._slots:  # outside the time limit: waiting here is nobody's fault
            try:
                with http_errors():
                    async with asyncio.timeout(self._settings.timeout):
                        return await self._get(url, is_trusted=is_trusted)
            except TimeoutError as error:
                raise FrameError(
                    "fetch_failed",
                    f"{origin(url)} did not send the image within {self._settings.timeout:g} s",
                ) from error
            except httpx.HTTPError as error:
                reason = f"{type(error).__name__} {error}".strip()
                raise FrameError("fetch_failed", f"{origin(url)}: {reason}") from error

    async def _get(self, text: str, *, is_trusted: bool) -> bytes:
        url = parse_url(text)
        rule = is_public_or_private if is_trusted else self._allowed.rule(url)
        client = self._http.client(rule, self._settings.timeout)
        async with client, client.stream("GET", url, headers=self._headers) as response:
            if response.status_code != httpx.codes.OK:
                raise FrameError("fetch_failed", f"{origin(text)} answered {response.status_code}")
            if response.headers.get("content-encoding", "identity") != "identity":
                raise FrameError("fetch_failed", f"{origin(text)} sent a compressed answer")
            return await self._read(response)

    async def _read(self, response: httpx.Response) -> bytes:
        content = bytearray()
        async for chunk in response.aiter_raw(65536):
            content += chunk
            if len(content) > self._max_bytes:
                raise FrameError(
                    "too_many_bytes", f"the image has more than {self._max_bytes} bytes"
                )
        return bytes(content)
