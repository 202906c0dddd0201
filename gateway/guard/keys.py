"""The token, and what a browser that has shown it is given to keep.

A cookie is signed with a key that follows from the token: it survives a restart, is not the token,
and a new token ends it.
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Iterable

SESSION_S = 30 * 86400
_MOST_CHARACTERS = 256


class Key:
    """Compares tokens and cookies, in a time that tells nothing of where they differ.

    Args:
        token: None: nobody has one.
        now: Seconds since 1970.

    Attributes:
        cookie: Name of the cookie; another token's is another, as is that of a second service of
            the same host.
    """

    def __init__(self, token: str | None, now: Callable[[], float] = time.time) -> None:
        self._digest = None if token is None else _digest(token)
        self._secret = hmac.digest((token or "").encode(), b"moondream2mqtt session", "sha256")
        self._now = now
        self.cookie = f"moondream2mqtt-{self._sign('name')[:8]}"

    def is_token(self, text: str) -> bool:
        """Whether it is the token."""
        return self._digest is not None and hmac.compare_digest(_digest(text), self._digest)

    def make_session(self) -> str:
        """A cookie's value, good for `SESSION_S`."""
        said = f"{int(self._now()) + SESSION_S}.{secrets.token_urlsafe(12)}"
        return f"{said}.{self._sign(said)}"

    def has_session(self, cookies: Iterable[str]) -> bool:
        """Whether one of the `Cookie` headers holds a session of ours."""
        pairs = (pair.strip().partition("=") for each in cookies for pair in each.split(";"))
        return any(name == self.cookie and self._is_session(value) for name, _, value in pairs)

    def _is_session(self, value: str) -> bool:
        said, _, signature = value[:_MOST_CHARACTERS].rpartition(".")
        if self._digest is None or not hmac.compare_digest(
            signature.encode(), self._sign(said).encode()
        ):
            return False
        return self._now() < int(said.partition(".")[0])  # signed, so it is a number

    def _sign(self, said: str) -> str:
        return hmac.digest(self._secret, said.encode(), "sha256").hex()


def _digest(text: str) -> bytes:
    """Of one length, so that comparing does not tell the token's."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
