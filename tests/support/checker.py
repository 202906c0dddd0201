"""Counts from outside whether a promise was kept.

A frame is accepted once the broker has acknowledged it to its camera. From there the topics must
tell the rest: one final status, the same in every copy, and a caption of this very frame where the
status says that there is one. The checker has a session of its own and never sees our database.
"""

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from paho.mqtt.client import MQTTMessage

from schemas.codes import STATUSES
from schemas.job import JobStatus
from tests.support.client import Client

# How long to wait for what must happen. It is no measurement: the machine may be busy with other
# things, and a test that passes waits no longer than it takes.
PATIENCE_S = 300.0
_LOOK_S = 0.02
_NUM_IDLE = 3  # statistics in a row that say that nothing waits and nothing runs
_FINAL = frozenset(
    {"completed", "failed", "cancelled", "dropped", "expired", "duplicate", "rejected"}
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of the accepted frames."""

    num_accepted: int
    finals: Counter[str]  #: accepted frames by their final status
    lost: tuple[str, ...]  #: accepted, without a final status
    unheard: tuple[str, ...]  #: completed, but their caption was never published
    conflicting: tuple[str, ...]  #: with more than one distinct end
    mixed_up: tuple[str, ...]  #: captioned with another frame's caption
    miscoded: tuple[str, ...]  #: with an error code that such an end does not have
    num_copies: int  #: copies of final documents beyond the first, which are allowed

    @property
    def is_kept(self) -> bool:
        """Whether every promise was."""
        broken = self.lost or self.unheard or self.conflicting or self.mixed_up or self.miscoded
        return not broken

    def __str__(self) -> str:
        ends = ", ".join(f"{count} {status}" for status, count in sorted(self.finals.items()))
        return (
            f"{self.num_accepted} accepted, {self.finals.total()} final ({ends}), "
            f"{len(self.lost)} lost, {len(self.unheard)} unheard, "
            f"{len(self.conflicting)} conflicting, {len(self.mixed_up)} mixed up, "
            f"{len(self.miscoded)} miscoded, {self.num_copies} copies"
        )


@dataclass(slots=True)
class _Story:
    """What was heard of one job."""

    status: str | None = None  # of the first final document
    ends: Counter[bytes] = field(default_factory=Counter)  # final status documents
    captions: Counter[bytes] = field(default_factory=Counter)  # result documents
    texts: set[str] = field(default_factory=set)
    heard: Counter[str] = field(default_factory=Counter)  # statuses that are not final
    is_miscoded: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether all that was promised has been heard."""
        return self.status is not None and (self.status != "completed" or bool(self.captions))

    @property
    def is_conflicting(self) -> bool:
        is_captioned_in_vain = self.status not in {None, "completed"} and bool(self.captions)
        return len(self.ends) > 1 or len(self.captions) > 1 or is_captioned_in_vain


class Checker:
    """Listens before anything is sent.

    Attributes:
        dead_letters: Every document of that topic.
        states: Every payload of `bridge/state`.
        order: Job ids in the order in which they were completed.
        system_status: Of the newest statistics.
        health: The newest, by part: status and message.
    """

    def __init__(self, port: int, base: str) -> None:
        self._base = base
        # Written on the threads of two clients.
        self._turn = threading.Lock()
        self._stories: dict[str, _Story] = {}
        self._expected: dict[str, str | None] = {}  # caption by accepted job id
        self._open: set[str] = set()  # accepted and not whole
        self._num_idle = 0
        self.dead_letters: list[dict[str, Any]] = []
        self.states: list[bytes] = []
        self.order: list[str] = []
        self.system_status = ""
        self.health: dict[str, dict[str, str]] = {}
        self._client = Client(
            port,
            "checker",
            filters=(f"{base}/+/status", f"{base}/+/caption", f"{base}/bridge/+"),
            on_message=self._hear,
        )

    async def __aenter__(self) -> Self:
        self._stack = ExitStack()
        self._stack.enter_context(self._client)
        await until(lambda: self._client.num_subscribed > 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self._stack.close)

    def accept(self, job_id: str, caption: str | None) -> None:
        """A camera says: the broker has taken this frame, and this would be its caption.

        Args:
            caption: None where no caption would be wrong.
        """
        with self._turn:
            self._expected[job_id] = caption
            self._num_idle = 0
            if not self._stories.setdefault(job_id, _Story()).is_whole:
                self._open.add(job_id)

    @property
    def num_accepted(self) -> int:
        return len(self._expected)

    @property
    def num_open(self) -> int:
        """Accepted frames of which something is still to be heard."""
        return len(self._open)

    @property
    def num_final(self) -> int:
        """Of all jobs, whoever sent them."""
        with self._turn:
            return sum(story.status is not None for story in self._stories.values())

    def status_of(self, job_id: str) -> dict[str, Any] | None:
        """The final status document of a job."""
        with self._turn:
            ends = self._stories.get(job_id, _Story()).ends
            return dict(json.loads(next(iter(ends)))) if ends else None

    def has_said(self, status: str, job_id: str) -> bool:
        """Whether a status that is not final has been published for a job."""
        with self._turn:
            return self._stories.get(job_id, _Story()).heard[status] > 0

    def verdict(self) -> Verdict:
        with self._turn:
            stories = {job_id: self._stories[job_id] for job_id in self._expected}
            return Verdict(
                num_accepted=len(stories),
                finals=Counter(each.status for each in stories.values() if each.status is not None),
                lost=tuple(job_id for job_id, each in stories.items() if each.status is None),
                unheard=tuple(
                    job_id
                    for job_id, each in stories.items()
                    if each.status is not None and not each.is_whole
                ),
                conflicting=tuple(
                    job_id for job_id, each in stories.items() if each.is_conflicting
                ),
                mixed_up=tuple(
                    job_id
                    for job_id, each in stories.items()
                    if self._expected[job_id] is not None and each.texts - {self._expected[job_id]}
                ),
                miscoded=tuple(job_id for job_id, each in stories.items() if each.is_miscoded),
                num_copies=sum(
                    max(0, copies.total() - 1)
                    for each in stories.values()
                    for copies in (each.ends, each.captions)
                ),
            )

    async def all_ended(self, timeout_s: float = PATIENCE_S) -> Verdict:
        """Wait until every accepted frame has its end and its caption; the verdict then, or late.

        The verdict is taken a moment after the last end, in which copies may still arrive.
        """
        try:
            await until(lambda: not self._open, timeout_s)
        except TimeoutError:
            return self.verdict()
        await asyncio.sleep(5 * _LOOK_S)
        return self.verdict()

    async def all_said(self, timeout_s: float = PATIENCE_S) -> Verdict:
        """Wait until every frame has ended, or the service says again and again that it has
        nothing to do: whatever is missing then will not come any more.
        """
        self._num_idle = 0
        await until(lambda: not self._open or self._num_idle >= _NUM_IDLE, timeout_s)
        return self.verdict()

    def _hear(self, message: MQTTMessage) -> None:
        if message.retain:  # news of an earlier test
            return
        payload = bytes(message.payload)
        name = message.topic.removeprefix(f"{self._base}/").split("/", 1)[1]
        with self._turn:
            if name == "state":
                self.states.append(payload)
            elif name == "stats":
                self._read_stats(json.loads(payload))
            elif name == "health":
                self.health = json.loads(payload)["checks"]
            elif name == "dead_letter":
                self.dead_letters.append(json.loads(payload))
            elif name in {"status", "caption"}:
                self._num_idle = 0
                self._read(name, payload, json.loads(payload))

    def _read_stats(self, document: dict[str, Any]) -> None:
        self.system_status = document["system_status"]
        is_idle = not document["queue_size"] and not document["active_jobs"]
        self._num_idle = self._num_idle + 1 if is_idle else 0

    def _read(self, name: str, payload: bytes, document: dict[str, Any]) -> None:
        job_id = document["job_id"]
        if job_id is None:
            return
        story = self._stories.setdefault(job_id, _Story())
        if name == "caption":
            story.captions[payload] += 1
            story.texts.add(document["result"]["caption"])
        elif document["status"] in _FINAL:
            if story.status is None and document["status"] == "completed":
                self.order.append(job_id)
            story.status = story.status or document["status"]
            story.ends[payload] += 1
            story.is_miscoded |= not has_fitting_code(document)
        else:
            story.heard[document["status"]] += 1
        if story.is_whole:
            self._open.discard(job_id)


def has_fitting_code(status: dict[str, Any]) -> bool:
    """Whether the error code of a final status document, or that it has none, fits its end."""
    if status["status"] == JobStatus.COMPLETED:
        return status["error"] is None
    error: dict[str, str] = status["error"] or {"code": ""}
    return status["status"] in STATUSES.get(error["code"], ())


async def until(is_so: Callable[[], bool], timeout_s: float = PATIENCE_S) -> None:
    """Look until it is so.

    Raises:
        TimeoutError: It never was.
    """
    async with asyncio.timeout(timeout_s):
        while not is_so():  # noqa: ASYNC110 - threads and processes have no event of ours
            await asyncio.sleep(_LOOK_S)
