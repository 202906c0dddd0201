"""Who asks, and what they say about it in headers: how patient they are, how urgent it is.

What they may have at once is bounded for each of them.
"""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fastapi import Request

from gateway.problems import Problem
from schemas.frame import JOB_ID_PATTERN, priority_named

#: In which the official clients of OpenAI say after how many seconds they hang up.
_PATIENCE_HEADERS = ("x-stainless-read-timeout", "x-stainless-timeout")
#: So much sooner they hear from us: a status code beats a connection that is cut.
_MARGIN_S, _MARGIN_SHARE = 1.0, 0.2
_TOKEN_HEADERS = ("authorization", "x-moondream-auth")


def caller_of(request: Request) -> str:
    """Who asks, as the guard knows it; else one token from one address is one caller."""
    if (known := getattr(request.state, "caller", None)) is not None:
        return str(known)
    token = next((request.headers[name] for name in _TOKEN_HEADERS if name in request.headers), "")
    host = request.client.host if request.client else ""
    return f"{host} {hashlib.sha256(token.encode()).hexdigest() if token else ''}"


class Callers:
    """How many requests each has under way.

    Args:
        most: Of one caller at once.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._num: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._num.total()

    def is_full(self, caller: str) -> bool:
        """Whether a caller may have no further one."""
        return self._num[caller] >= self._most

    @contextmanager
    def place(self, caller: str) -> Iterator[None]:
        """Count one more while the block lasts."""
        self._num[caller] += 1
        try:
            yield
        finally:
            self._num[caller] -= 1
            if not self._num[caller]:
                del self._num[caller]


def patience_of(request: Request) -> tuple[float, str]:
    """Seconds after which a caller should hear from us, and how it said so; infinite if it did not.

    A little less than it said: the rest is for the way.
    """
    for name in _PATIENCE_HEADERS:
        text = request.headers.get(name, "")
        if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text) and (said_s := float(text)) > 0:
            return said_s - min(_MARGIN_S, _MARGIN_SHARE * said_s), f"{name}: {text}"
    return math.inf, ""


def said_in_headers(request: Request, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a frame that stand in headers; what the body says counts more.

    `X-Priority` is its `priority`, `Idempotency-Key` its `job_id`. A request that asks about
    several pictures has a job for each: the second is `<key>-2`.

    Raises:
        Problem: A header has a value that it cannot have.
    """
    said: dict[str, Any] = {}
    priority = request.headers.get("x-priority")
    if priority is not None and fields.get("priority") is None:
        if priority_named(priority.lower()) is None:
            raise Problem("bad_field", f"X-Priority: no priority is called {priority[:40]!r}")
        said["priority"] = priority.lower()
    key = request.headers.get("idempotency-key")
    if key and fields.get("job_id") is None:
        number = request.state.num_frames = getattr(request.state, "num_frames", 0) + 1
        said["job_id"] = _job_id(key if number == 1 else f"{key}-{number}")
    return said


def _job_id(key: str) -> str:
    """The key itself where it can be an id; others, which are any text, have one of their own."""
    if re.fullmatch(JOB_ID_PATTERN, key):
        return key
    return f"key-{hashlib.sha256(key.encode()).hexdigest()[:32]}"
