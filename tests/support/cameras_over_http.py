"""Cameras as HTTP servers: what they answer, and how they ask for an account."""

import asyncio
import hashlib
import itertools
import re

from tests.support.http_receivers import Behaviour, Request, answers


def shows(image: bytes) -> Behaviour:
    """A picture."""
    return answers(200, "Content-Type: image/jpeg\r\n", image)


class DigestCamera:
    """Asks for a digest, and hands out a new nonce after a while.

    Args:
        image: What it shows.
        requests_per_nonce: Good ones, until it asks for another.

    Attributes:
        num_unauthorized: Requests it has answered with 401.
        num_bad_logins: Those of them with an account that is wrong.
    """

    def __init__(
        self, image: bytes, username: str, password: str, *, requests_per_nonce: int = 1000
    ) -> None:
        self._image = image
        self._account = (username, password)
        self._requests_per_nonce = requests_per_nonce
        self._numbers = itertools.count()
        self._nonce, self._num_left = "", 0
        self.num_unauthorized = 0
        self.num_bad_logins = 0

    async def __call__(self, request: Request, writer: asyncio.StreamWriter) -> None:
        given = dict(re.findall(r'(\w+)="?([^",]+)"?', request.headers.get("authorization", "")))
        if given.get("nonce") == self._nonce and self._num_left:
            if given.get("response") == self._expected(request, given):
                self._num_left -= 1
                await shows(self._image)(request, writer)
                return
            self.num_bad_logins += 1
        self.num_unauthorized += 1
        self._nonce, self._num_left = f"nonce{next(self._numbers)}", self._requests_per_nonce
        challenge = f'Digest realm="cam", qop="auth", nonce="{self._nonce}", algorithm=MD5'
        await answers(401, f"WWW-Authenticate: {challenge}\r\n", b"")(request, writer)

    def _expected(self, request: Request, given: dict[str, str]) -> str:
        username, password = self._account
        account = _md5(f"{username}:cam:{password}")
        what = _md5(f"{request.method}:{request.target}")
        rest = f"{given['nonce']}:{given['nc']}:{given['cnonce']}:{given['qop']}"
        return _md5(f"{account}:{rest}:{what}")


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
