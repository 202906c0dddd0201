"""Requests to Frigate, with a login where it wants one.

Port 5000 asks nobody who they are. On port 8971 a login gives a cookie, which Frigate renews when
it is used near its end; when it has ended all the same, one new login is made. A login that is
refused is not tried again at once: Frigate counts them, and locks.
"""

import asyncio
import logging
import re
from dataclasses import dataclass

import httpx

from schemas.status import HealthCheck
from service.backoff import Backoff
from service.clock import Clock
from service.errors import (
    AnswerTooLargeError,
    FrigateAccessError,
    FrigateError,
    HostError,
)
from service.frigate_settings import FrigateSettings
from service.http.operator_http import Answer, OperatorHttp
from service.http.urls import origin

logger = logging.getLogger(__name__)

_LOGIN_BYTES = 64 * 1024
_AWAY = frozenset({502, 503, 504})  # what stands before Frigate says while it starts
_REASONS = {
    401: "does not know frigate.username with frigate.password",
    429: "has had too many logins",
}
_REFUSED = Backoff(first=10.0, longest=300.0)  # between logins
# The cookie's name can be set in Frigate; its value is a JSON Web Token.
_COOKIE = re.compile(r"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)=([\w-]+\.[\w-]+\.[\w-]+)\s*(?:;|$)")


@dataclass(frozen=True, slots=True)
class _Cookie:
    name: str
    value: str


class FrigateSession:
    """Makes requests to one Frigate.

    Args:
        settings: Where it is, and the account.
        http: Makes the exchanges.
        clock: For pauses between logins.
        version: Of the package, for `User-Agent`.
    """

    def __init__(
        self, settings: FrigateSettings, http: OperatorHttp, clock: Clock, version: str
    ) -> None:
        self._settings = settings
        self._url = settings.url or ""
        self._http = http
        self._clock = clock
        self._user_agent = f"moondream2mqtt/{version}"
        self._cookie: _Cookie | None = None
        self._one_at_a_time = asyncio.Lock()  # logins
        self._num_refused = 0
        self._refusal = ""
        self._next_login_at = 0.0
        self._has_no_login = settings.username is None
        self._trouble = ""
        self._role_trouble = ""

    @property
    def where(self) -> str:
        """The part of its URL that may be shown."""
        return origin(self._url)

    def check(self) -> HealthCheck:
        """Healthy while Frigate answers and lets us do what the settings ask for."""
        trouble = self._trouble or self._role_trouble
        return HealthCheck(status="degraded" if trouble else "healthy", message=trouble or "ok")

    async def request(
        self, method: str, path: str, *, json: object | None = None, max_bytes: int
    ) -> Answer:
        """Make a request and return the answer, which can be 404 or another refusal.

        Args:
            method: GET, POST and so on.
            path: Below `/api`, with its query.
            json: Body.
            max_bytes: Of the answer.

        Raises:
            HostError: There is no answer, or one of what stands before Frigate.
            FrigateAccessError: Not with this account.
            AnswerTooLargeError: It has more than `max_bytes`.
        """
        try:
            answer = await self._as_somebody(method, path, json, max_bytes)
            self._note_role(method, answer)
        except AnswerTooLargeError:
            raise
        except (FrigateError, HostError) as error:
            self._trouble = str(error)
            raise
        self._trouble = ""
        return answer

    async def _as_somebody(
        self, method: str, path: str, json: object | None, max_bytes: int
    ) -> Answer:
        if self._cookie is None and not self._has_no_login:
            await self._log_in(None)
        used = self._cookie
        answer = await self._send(method, path, json, max_bytes)
        if answer.status == httpx.codes.UNAUTHORIZED:
            if self._settings.username is None:
                raise FrigateAccessError(
                    f"{self.where} wants a login: set frigate.username and frigate.password, or "
                    "the port without login"
                )
            await self._log_in(used)
            answer = await self._send(method, path, json, max_bytes)
        if answer.status == httpx.codes.UNAUTHORIZED:
            raise FrigateAccessError(f"{self.where} does not accept its own login")
        return answer

    def _note_role(self, method: str, answer: Answer) -> None:
        """Raise for a role that is too low; of writing it is told until a write works."""
        is_writing = method != "GET"
        if answer.status == httpx.codes.FORBIDDEN:
            who = self._settings.username or "the port without login"
            refusal = f"{self.where} does not let {who} see everything"
            if is_writing:
                refusal = f"{self.where} refuses {who}: writing back takes the role admin"
                self._role_trouble = refusal
            raise FrigateAccessError(refusal)
        if is_writing and answer.status < httpx.codes.BAD_REQUEST:
            self._role_trouble = ""

    async def _log_in(self, used: _Cookie | None) -> None:
        """Get a cookie in place of `used`, unless somebody else has got one meanwhile."""
        async with self._one_at_a_time:
            if self._cookie is not used:
                return
            if self._clock.monotonic() < self._next_login_at:
                raise FrigateAccessError(self._refusal)
            password = self._settings.password
            body = {
                "user": self._settings.username,
                "password": password.get_secret_value() if password else "",
            }
            self._cookie = None
            answer = await self._send("POST", "/login", body, _LOGIN_BYTES)
            if answer.status == httpx.codes.NOT_FOUND:  # its auth.enabled is off
                self._has_no_login = True
            elif self._cookie is None:
                self._refuse(answer)
            self._num_refused = 0

    def _refuse(self, answer: Answer) -> None:
        self._num_refused += 1
        delay = _REFUSED.after(self._num_refused)
        self._next_login_at = self._clock.monotonic() + delay
        otherwise = f"answered {answer.status} to the login, without a cookie"
        reason = _REASONS.get(answer.status, otherwise)
        self._refusal = f"{self.where} {reason}"
        logger.warning(
            "%s; again in %.0f s", self._refusal, delay, extra={"action": "frigate_login_refused"}
        )
        raise FrigateAccessError(self._refusal)

    async def _send(self, method: str, path: str, json: object | None, max_bytes: int) -> Answer:
        headers = {"user-agent": self._user_agent}
        if self._cookie is not None:
            headers["cookie"] = f"{self._cookie.name}={self._cookie.value}"
        answer = await self._http.exchange(
            method,
            f"{self._url}/api{path}",
            headers=headers,
            json=json,
            timeout_s=self._settings.timeout,
            max_bytes=max_bytes,
        )
        if answer.status in _AWAY:
            raise HostError(f"{self.where} answered {answer.status}: it is not running")
        self._keep_cookie(answer)
        return answer

    def _keep_cookie(self, answer: Answer) -> None:
        """Take the cookie of a login, or a renewed one."""
        for text in answer.headers.get_list("set-cookie"):
            if (found := _COOKIE.match(text)) is not None:
                self._cookie = _Cookie(found[1], found[2])
