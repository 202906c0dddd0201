"""What the settings point at besides the broker: hosts that are sent to, folders that are read."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress

import httpcore

from service.commands.checks.finding import Finding
from service.errors import UrlRefusedError
from service.folders.access import reading_problem
from service.http.resolver import SystemResolver
from service.http.urls import GuardedBackend, is_public_or_private, origin, parse_url
from service.settings import Settings

_CONNECT_S = 5.0
_MOST_AT_ONCE = 16
_PORTS = {"http": 80, "https": 443}


async def check_hosts(settings: Settings) -> list[Finding]:
    """Whether those that results are sent to, or pictures fetched from, take connections."""
    backend = GuardedBackend(SystemResolver(), is_public_or_private, httpcore.AnyIOBackend())
    places = asyncio.Semaphore(_MOST_AT_ONCE)

    async def check(path: str, url: str) -> Finding:
        async with places:
            return await _check_host(backend, path, url)

    by_origin = {origin(url): (path, url) for path, url in reversed(list(_urls(settings)))}
    return await asyncio.gather(*(check(*each) for each in reversed(list(by_origin.values()))))


def _urls(settings: Settings) -> Iterator[tuple[str, str]]:
    urls = {"webhooks.url": settings.webhooks.url}
    for name, camera in settings.cameras.items():
        urls[f"cameras.{name}.webhook_url"] = camera.webhook_url
        urls[f"cameras.{name}.snapshot_url"] = camera.snapshot_url
    for path, url in urls.items():
        with suppress(UrlRefusedError):  # which ends the start, and is a line of its own
            if url is not None and parse_url(url):
                yield path, url


async def _check_host(backend: GuardedBackend, path: str, text: str) -> Finding:
    try:
        url = parse_url(text)
        port = url.port or _PORTS[url.scheme]
        stream = await backend.connect_tcp(url.host, port, timeout=_CONNECT_S)
    except UrlRefusedError as error:
        return Finding(path, "TODO", f"{error}: name a host of the Internet or of your network")
    except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
        why = str(error) or f"no connection within {_CONNECT_S:g} s"
        return Finding(path, "TODO", f"{origin(text)}: {why}; is it running, is {path} right?")
    await stream.aclose()
    return Finding(path, "ok", f"{origin(text)} takes connections")


def check_folders(settings: Settings) -> list[Finding]:
    """Whether watched folders can be read."""
    findings = []
    for number, folder in enumerate(settings.folders):
        problem = reading_problem(folder.path)
        name = f"folders.{number}"
        if problem is None:
            findings.append(Finding(name, "ok", f"{folder.path} can be read"))
        else:
            findings.append(Finding(name, "TODO", f"{folder.path}: {problem}; see {name}.path"))
    return findings
