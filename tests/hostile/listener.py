"""Hears everything the broker passes on, and sorts it: a trial's, our own, or nobody's.

Nobody's is what must not be: a topic that is neither in the table of topics, nor below the response
topics that a case may use, nor sent by the corpus itself.
"""

import asyncio
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from broker.topics import TABLE
from tests.hostile.case import BASE, CONFIGURED, SECRET
from tests.hostile.wire import RawClient
from tests.support.checker import has_fitting_code

_FINAL = frozenset(
    {"completed", "failed", "cancelled", "dropped", "expired", "duplicate", "rejected"}
)
_OUT = {spec.pattern for spec in TABLE if spec.direction == "out"}
_OF_CAMERAS = {
    pattern.removeprefix("<base>/<camera>/")
    for pattern in _OUT
    if pattern.startswith("<base>/<camera>/")
}
_OF_BRIDGE = {pattern.replace("<base>", BASE) for pattern in _OUT if "<camera>" not in pattern}


@dataclass(slots=True)
class Trace:
    """What has been heard of one trial so far."""

    cameras: tuple[str, ...]
    hashes: tuple[str, ...]  #: SHA-256 of those of its payloads that name no camera
    answers_on: tuple[str, ...]  #: topics where answers may come
    canary: str  #: job id of the good frame behind it
    canary_digest: str  #: SHA-256 of its image
    ends: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)  #: camera, job id
    captions: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)  #: as `ends`
    letters: dict[str, dict[str, Any]] = field(default_factory=dict)  #: by hash
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)  #: by topic
    problems: list[str] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def canary_caption(self) -> dict[str, Any] | None:
        """The result document of the good frame, once it is there."""
        found = (each[self.canary] for each in self.captions.values() if self.canary in each)
        return next(found, None)


class Listener:
    """Subscribed to `#` before anything is sent.

    Attributes:
        strays: Messages that must not be, and the job that they name, if any.
        leaks: Messages that say a secret.
    """

    def __init__(self, port: int) -> None:
        self.strays: list[tuple[str, str]] = []
        self.leaks: list[str] = []
        self._sent: set[tuple[str, bytes]] = set()
        self._cameras = {CONFIGURED}
        self._open: dict[str, Trace] = {}  # by camera, hash, topic and canary
        # Not paho: it hangs up on messages that the corpus sends.
        self._client = RawClient(port, "3.1.1", "listener")

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        await self._client.subscribe("#", self._hear)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._client.__aexit__(kind, error, traceback)

    async def ping(self) -> None:
        """Return when everything has been heard that the broker has by now."""
        await self._client.ping()

    def expect(self, topic: bytes, payload: bytes) -> None:
        """Say that the corpus sends this itself."""
        self._sent.add(_mark(topic.decode("utf-8", "replace"), payload))

    def open(self, trace: Trace, more_cameras: Iterable[str] = ()) -> None:
        """Begin to collect what belongs to a trial; its cameras are its own until `close`."""
        self._cameras.update(trace.cameras, more_cameras)
        for key in _keys(trace):
            self._open[key] = trace

    def close(self, trace: Trace) -> None:
        for key in _keys(trace):
            if self._open.get(key) is trace:
                del self._open[key]

    def _hear(self, topic: str, payload: bytes, is_retained: bool) -> None:
        if is_retained or _mark(topic, payload) in self._sent:
            return
        if SECRET.encode() in payload or SECRET in topic:
            self.leaks.append(f"{topic[:100]}: {payload[:1000]!r}")
        levels = topic.split("/")
        if topic == f"{BASE}/bridge/dead_letter":
            self._take_letter(json.loads(payload))
        elif topic in _OF_BRIDGE:
            return
        elif len(levels) == 3 and levels[0] == BASE and levels[1] in self._cameras:
            self._take_of_camera(levels[1], levels[2], topic, payload)
        elif trace := self._open.get(topic):
            trace.answers[topic] = json.loads(payload)
            trace.changed.set()
        else:
            self._take_stray(topic, payload)

    def _take_letter(self, letter: dict[str, Any]) -> None:
        trace = self._open.get(letter["camera_id"] or letter["sha256"])
        if trace is not None:
            trace.letters[letter["sha256"]] = letter
            trace.changed.set()

    def _take_of_camera(self, camera: str, kind: str, topic: str, payload: bytes) -> None:
        if kind not in _OF_CAMERAS:
            self._take_stray(topic, payload)
            return
        if kind not in {"status", "caption"}:
            return
        document = json.loads(payload)
        job_id = document["job_id"] or ""
        trace = self._open.get(job_id) or self._open.get(camera)
        if trace is None:
            return
        if kind == "caption":
            trace.captions.setdefault(camera, {})[job_id] = document
        elif document["status"] in _FINAL:
            known = trace.ends.setdefault(camera, {}).setdefault(job_id, document)
            if known != document:
                trace.problems.append(f"{job_id} has two ends")
            if not has_fitting_code(document):
                trace.problems.append(f"{document['status']} with {document['error']}")
        trace.changed.set()

    def _take_stray(self, topic: str, payload: bytes) -> None:
        try:
            job_id = json.loads(payload)["job_id"]
        except (ValueError, TypeError, KeyError):
            job_id = ""
        self.strays.append((f"{topic[:100]!r}: {payload[:80]!r}", str(job_id)))


def _mark(topic: str, payload: bytes) -> tuple[str, bytes]:
    return topic, hashlib.sha256(payload).digest()


def _keys(trace: Trace) -> tuple[str, ...]:
    return (*trace.cameras, *trace.hashes, *trace.answers_on, trace.canary)
