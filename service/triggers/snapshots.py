"""What a camera sees now: one request to the address that the operator has named.

One request at a time to each camera, because small ones serve one viewer. An account that is
refused is left alone for a quarter of an hour: cameras lock an account after a few bad logins, and
then nobody gets in.
"""

import asyncio
from collections.abc import AsyncIterator, Generator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from math import ceil, inf
from pathlib import Path
from urllib.parse import quote
from weakref import WeakValueDictionary

import httpx

from engine.images import ImageLimits
from service.clock import Clock
from service.errors import ConfigurationError, FrameError, HostError
from service.http.operator_http import OperatorHttp
from service.http.urls import origin, parse_url
from service.trigger_settings import CAMERA, AuthSettings, TriggerSettings
from service.triggers.answers import AccessRefusedError, picture_of

SUSPENDED_S = 900.0
_MOST_AT_ONCE = 16  # pictures of 4 MiB: bounds memory, and what slow cameras can hold up
_MOST_OF_HOST = 8  # of these: one that never answers leaves the others room
# Of one account, once it has been accepted, before that one: so many bad logins it may cost when
# the password changes. Some cameras lock an account after ten.
_MOST_OF_ACCOUNT = 4
_MOST_AUTHS = 1024  # whoever may publish may invent cameras; the oldest is made again
_ACCEPT = "image/jpeg, image/png;q=0.9, image/webp;q=0.9, */*;q=0.1"
_LONGEST_NAME = 256  # characters of a camera's, in an address
_USER_FIELDS = ("user", "username", "usr", "u")  # of URLs that hold an account


class SuspendedError(FrameError):
    """The camera has refused the account and is not asked any more for a while.

    Attributes:
        until: On the monotonic clock.
    """

    def __init__(self, message: str, until: float) -> None:
        super().__init__("fetch_failed", message)
        self.until = until


@dataclass(slots=True, eq=False)
class _Account:
    """What a camera locks.

    Args:
        is_named: There is a user; without one nothing can be locked.
    """

    is_named: bool
    first: asyncio.Lock = field(default_factory=asyncio.Lock)  #: until it has been accepted
    others: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_MOST_OF_ACCOUNT))
    is_accepted: bool = False
    suspended_until: float = -inf
    reason: str = ""  #: why it was refused

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait until one more request may be made with it."""
        if not self.is_named:
            yield
            return
        if not self.is_accepted:
            async with self.first:
                if not self.is_accepted:
                    yield
                    return
        async with self.others:
            yield


class Snapshots:
    """Gets pictures from the addresses of triggers.

    Args:
        triggers: In the order of the settings.
        limits: What an image may be.
        clock: For suspensions.
        version: Of the package, for `User-Agent`.

    Raises:
        ConfigurationError: A `ca_file` holds no certificate.
    """

    def __init__(
        self,
        triggers: Sequence[TriggerSettings],
        limits: ImageLimits,
        clock: Clock,
        version: str,
    ) -> None:
        self._triggers = triggers
        self._limits = limits
        self._clock = clock
        self._headers = {"accept": _ACCEPT, "user-agent": f"moondream2mqtt/{version}"}
        self._https: dict[tuple[Path | None, bool], OperatorHttp] = {}
        for number, each in enumerate(triggers):
            key = (each.ca_file, each.insecure)
            if key not in self._https:  # its TLS context costs 16 ms
                self._https[key] = _make_http(each, number)
        self._auths: dict[tuple[int, str], httpx.Auth | None] = {}
        self._accounts = {name: _Account(bool(name[1])) for name in map(_account, triggers)}
        self._hosts = {_host(each): asyncio.Semaphore(_MOST_OF_HOST) for each in triggers}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._slots = asyncio.Semaphore(_MOST_AT_ONCE)

    async def fetch(self, number: int, camera_id: str, name: str | None = None) -> bytes:
        """What a camera sees now, as the trigger of that number has it.

        Args:
            number: Of the trigger.
            camera_id: One picture of it is fetched at a time.
            name: What the URL calls it; its id if None.

        Raises:
            SuspendedError: It refuses the account, or has done so of late.
            FrameError: `fetch_failed`; the message names the cause, and only the URL's origin.
        """
        lock = self._locks.get(camera_id)
        if lock is None:
            lock = self._locks[camera_id] = asyncio.Lock()
        trigger = self._triggers[number]
        url = address_of(trigger.url, camera_id if name is None else name)
        account = self._accounts[_account(trigger)]
        # Outside the time limit: waiting here is nobody's fault.
        async with lock, account.turn(), self._hosts[_host(trigger)], self._slots:
            self._check(account)
            try:
                image = await self._fetch(trigger, url, (number, camera_id))
            except AccessRefusedError as error:
                account.is_accepted = False
                account.suspended_until = self._clock.monotonic() + SUSPENDED_S
                account.reason = str(error)
                self._check(account)
                raise
            account.is_accepted = True
            return image

    async def _fetch(self, trigger: TriggerSettings, url: str, key: tuple[int, str]) -> bytes:
        try:
            answer = await self._https[trigger.ca_file, trigger.insecure].exchange(
                "GET",
                url,
                headers={**self._headers, **(trigger.headers or {})},
                auth=self._auth(trigger, key),
                timeout_s=trigger.timeout,
                max_bytes=self._limits.max_bytes,
            )
        except HostError as error:
            # httpx keeps a challenge that it cannot answer, and would never ask again.
            self._auths.pop(key, None)
            raise FrameError("fetch_failed", str(error)) from error
        return picture_of(answer.status, answer.headers, answer.body, url, self._limits)

    def _check(self, account: _Account) -> None:
        """Raise SuspendedError while an account is left alone."""
        left = account.suspended_until - self._clock.monotonic()
        if left > 0:
            message = f"{account.reason}; it is not asked for another {ceil(left / 60)} min"
            raise SuspendedError(message, account.suspended_until)

    def _auth(self, trigger: TriggerSettings, key: tuple[int, str]) -> httpx.Auth | None:
        """Kept for each camera: a digest is negotiated once, then each picture is one request."""
        if key not in self._auths:
            self._auths[key] = None if trigger.auth is None else _make_auth(trigger.auth)
            if len(self._auths) > _MOST_AUTHS:
                del self._auths[next(iter(self._auths))]
        return self._auths[key]


def address_of(url: str, name: str) -> str:
    """The address of a camera's picture.

    The name is anybody's text: it becomes one element of the path and one value of the query, also
    for a server that decodes the address before it takes it apart.

    Raises:
        FrameError: `fetch_failed`: it cannot be one.
    """
    if CAMERA not in url:
        return url
    is_in_path = CAMERA in url.partition("?")[0]
    leaves_its_place = name in {".", ".."} or "/" in name or "\\" in name
    if not name.isprintable() or len(name) > _LONGEST_NAME or (is_in_path and leaves_its_place):
        raise FrameError("fetch_failed", "the camera's name can be no part of an address")
    return url.replace(CAMERA, quote(name, safe=""))


def _make_http(trigger: TriggerSettings, number: int) -> OperatorHttp:
    try:
        return OperatorHttp(trigger.ca_file, insecure=trigger.insecure)
    except ConfigurationError as error:
        raise ConfigurationError(f"triggers.{number}.ca_file: {error}") from error


class _Bearer(httpx.Auth):
    def __init__(self, token: str) -> None:
        self._value = f"Bearer {token}"

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["authorization"] = self._value
        yield request


def _make_auth(auth: AuthSettings) -> httpx.Auth:
    if auth.type == "bearer":
        return _Bearer(auth.token.get_secret_value() if auth.token else "")
    username = auth.username or ""
    password = auth.password.get_secret_value() if auth.password else ""
    make = httpx.DigestAuth if auth.type == "digest" else httpx.BasicAuth
    return make(username, password)


def _host(trigger: TriggerSettings) -> str:
    return origin(trigger.url.replace(CAMERA, "camera"))


def _account(trigger: TriggerSettings) -> tuple[str, str]:
    """Names a user of a host; where there is none, what this URL alone needs."""
    url = trigger.url.replace(CAMERA, "camera")
    fields = parse_url(url).params
    user = next((fields[each] for each in _USER_FIELDS if each in fields), None)
    if trigger.auth is not None and trigger.auth.username is not None:
        user = trigger.auth.username
    return (trigger.url, "") if user is None else (_host(trigger), user)
