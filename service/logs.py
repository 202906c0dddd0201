"""Logging: one line per event on stderr, and warnings as documents for `bridge/log`.

Never image bytes, never secrets. Control characters from outside are escaped, so that a hostile
name cannot forge a line.
"""

import json
import logging
import os
import re
from collections import deque
from datetime import UTC, datetime
from typing import Literal

from schemas.status import HealthCheck, LogDocument
from service.clock import Clock

# And what turns the direction of a line, and lone surrogates, which nothing can encode.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_QUIET = (
    "aiosqlite",
    "alembic",
    "asyncio",
    "httpcore",
    "httpx",
    "huggingface_hub",
    "paho",
    "py.warnings",
    "sqlalchemy",
    "urllib3",
)
_TWINS = "broker"  # both connections say the same when the broker comes or goes
_TWINS_S = 5.0
_MOST_DOCUMENTS = 200  # more warnings than that in one interval say nothing new
_THROTTLED_S = 600.0
_MOST_THROTTLED = 20
_UNEXPECTED_S = 600.0  # longer than any pause between two tries of what keeps failing


def escape(text: str) -> str:
    """The text with control characters made visible."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match.group()):02x}", text)


class _TextFormatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        record.message = escape(record.message)
        return super().formatMessage(record)


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        content = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "action": getattr(record, "action", None),
            "job_id": getattr(record, "job_id", None),
        }
        if record.exc_info:
            content["traceback"] = self.formatException(record.exc_info)
        return json.dumps({key: value for key, value in content.items() if value is not None})


class _Twins(logging.Filter):
    """Lets one of two equal lines through that follow each other at once.

    The service has two connections to the broker. What befalls one alone differs in its text.
    """

    def __init__(self) -> None:
        super().__init__()
        self._last = ("", 0.0)

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith(_TWINS):
            return True
        text, created = record.getMessage(), record.created
        before, self._last = self._last, (text, created)
        is_twin = text == before[0] and created - before[1] < _TWINS_S
        if is_twin:
            self._last = ("", 0.0)  # a third one is news
        return not is_twin


class BridgeLog(logging.Handler):
    """Keeps warnings and errors until they are published; the oldest go when nobody does.

    Args:
        clock: For how long an unexpected error shows in `bridge/health`.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__(logging.WARNING)
        self.addFilter(_Twins())
        self._clock = clock
        self._documents: deque[LogDocument] = deque(maxlen=_MOST_DOCUMENTS)
        self._unexpected: deque[tuple[float, str]] = deque(maxlen=_MOST_DOCUMENTS)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the record as a document, without its traceback; never raises."""
        try:
            message = escape(record.getMessage())[:2000]
            self._documents.append(
                LogDocument(
                    level=record.levelname.lower(),
                    code=escape(str(getattr(record, "action", record.name))),
                    message=message,
                    timestamp=datetime.fromtimestamp(record.created, UTC),
                )
            )
            if record.exc_info:
                self._unexpected.append((self._clock.monotonic(), message))
        except Exception:  # noqa: BLE001 - who logs must not fail by it
            self.handleError(record)

    def check(self) -> HealthCheck:
        """Degraded for a while after an error that nobody foresaw: one with a traceback."""
        since = self._clock.monotonic() - _UNEXPECTED_S
        recent = [message for moment, message in list(self._unexpected) if moment > since]
        if not recent:
            return HealthCheck(status="healthy", message="ok")
        message = f"unexpected errors: {len(recent)} in {_UNEXPECTED_S / 60:.0f} min"
        return HealthCheck(status="degraded", message=f"{message}, the last: {recent[-1][:200]}")

    def take(self) -> list[LogDocument]:
        """Hand over what has come since the last call."""
        taken = list(self._documents)
        self._documents.clear()
        return taken


class Throttle:
    """Says whether a warning about somebody's frames is due, so that no sender fills the log.

    One for each subject in ten minutes, and twenty in all: whoever sends can invent subjects.
    """

    def __init__(self) -> None:
        self._until: dict[str, float] = {}  # by subject

    def allows(self, subject: str, now: float) -> bool:
        """Whether to write it; `now` is in seconds of a monotonic clock."""
        self._until = {name: until for name, until in self._until.items() if until > now}
        if subject in self._until or len(self._until) >= _MOST_THROTTLED:
            return False
        self._until[subject] = now + _THROTTLED_S
        return True


def configure(level: str, form: Literal["text", "json"]) -> None:
    """Send the log to stderr.

    Python's `warnings` are for who writes programs, and show at DEBUG only. Libraries are held at
    warnings: at INFO the HTTP ones write whole URLs, passwords included, and at DEBUG aiosqlite
    writes every value of a statement.
    """
    _hold_standard_streams()
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonFormatter() if form == "json" else _TextFormatter())
    root = logging.getLogger()
    handler.addFilter(_Twins())
    root.handlers = [handler]
    root.setLevel(level.upper())
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").propagate = level == "debug"
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def _hold_standard_streams() -> None:
    """Open what is closed of stdin, stdout and stderr, to nothing.

    Else the next connection gets that number, and what a library prints is sent to the broker.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
