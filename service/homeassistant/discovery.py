"""Keeps what is published for Home Assistant's discovery equal to what is wanted.

What is published stands in the store, so a difference is found after any crash, and taken back is
also what an earlier run has published. Each step is one transaction: the message in the outbox and
what is published behind it. Everything is done by one task, at most once a second, so that a burst
of changes costs one look and a birth message shouted a thousand times costs nothing.

Discovery is on by default, and a broker's rules need not allow it: the first message of each turn
goes alone, and only what the broker takes is followed by the others.
"""

import asyncio
import logging
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Protocol

from broker.handover import Publish
from broker.publisher import to_outbox
from broker.state import ConnectionState
from schemas.outbox import OutboxMessage
from service.boundary import contained
from service.clock import Clock
from service.homeassistant.plan import Change, changes
from service.homeassistant.wanted import WantedDevices
from service.store.discovery import Published, PublishedDiscovery
from service.store.retry import until_stored

logger = logging.getLogger(__name__)

_MOST_IN_TRANSACTION = 64
_MOST_DEVICES_AT_ONCE = 32  # read from the store: 10 KB each
_MOST_REFUSED = 3  # of one turn; more are the broker's rules


class Sender(Protocol):
    """Sends what is in the outbox; see `service.delivery.mqtt`."""

    def watch(self, message_id: int) -> "asyncio.Future[bool]":
        """Whether the broker takes a row that has just been committed."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often what is done, in seconds."""

    turn: float = 1.0  #: between two looks at what has changed
    #: After a birth message: every program that it wakes publishes at the same moment.
    delay: tuple[float, float] = (0.5, 3.0)
    renewal: float = 10.0  #: between two publications of everything
    #: The same where the broker still knew us. It may have lost the last minute all the same, as
    #: after a power cut; a network that fails every minute is no reason to send megabytes.
    renewal_of_known: float = 600.0
    refused: float = 600.0  #: until a broker that refuses is tried again; doubles each time,
    longest_refused: float = 86_400.0  #: up to this
    unanswered: float = 5.0  #: until the outbox is asked whether a message still waits in it


@dataclass(frozen=True, slots=True)
class _Step:
    object_id: str
    change: Change


class _RefusedError(Exception):
    """The broker does not take discovery from us."""

    def __init__(self, topic: str) -> None:
        super().__init__(topic)
        self.topic = topic


class Discovery:
    """The reconciler.

    Args:
        wanted: What is to be published.
        published: What is.
        sender: Says what becomes of a message.
        clock: For timestamps.
        pace: Faster in tests.
    """

    def __init__(
        self,
        wanted: WantedDevices,
        published: PublishedDiscovery,
        sender: Sender,
        clock: Clock,
        pace: Pace | None = None,
    ) -> None:
        self._wanted = wanted
        self._published = published
        self._sender = sender
        self._clock = clock
        self._pace = pace or Pace()
        self._wake = asyncio.Event()
        self._is_all_due = True
        self._due: set[str] = set()  # object ids
        self._renewal_at: float | None = None
        self._renewed_at = -inf
        self._is_trusted = False  # the broker has taken a message of this turn
        self._num_refused = 0  # of this turn
        self._refused_at = -inf
        self._pause = 0.0  # after the last refusal; 0: it was taken since
        self._has_told = False

    # What makes a look due; all are quick.

    def look_at_camera(self, camera_id: str) -> None:
        """A camera has become known, has changed, or has been forgotten."""
        self._look_at(self._wanted.camera_object_id(camera_id))

    def look_at_bridge(self) -> None:
        """What the service shows of itself has changed."""
        self._look_at(self._wanted.bridge_id)

    def greet(self) -> None:
        """Home Assistant has started: publish all again."""
        if self._pause > self._pace.refused:  # somebody wants it after all
            self._pause = self._pace.refused
            self._wake.set()
        self._renew_after(random.uniform(*self._pace.delay), self._pace.renewal)  # noqa: S311

    def connected(self, state: ConnectionState) -> None:
        """The broker has accepted us, and may have forgotten what it retained."""
        rest = self._pace.renewal_of_known if state.session_present else self._pace.renewal
        self._renew_after(random.uniform(*self._pace.delay), rest)  # noqa: S311 - spreads load

    def _look_at(self, object_id: str) -> None:
        self._due.add(object_id)
        self._wake.set()

    def _renew_after(self, delay: float, rest: float) -> None:
        at = max(_now() + delay, self._renewed_at + rest)
        if self._renewal_at is None or at < self._renewal_at:
            self._renewal_at = at
            self._wake.set()

    # The task.

    async def run(self) -> None:
        """Publish for ever."""
        self._is_all_due = True  # whatever ended the last run
        while True:
            await self._until_due()
            try:
                await self._turn()
            except _RefusedError as error:
                self._stand_back(error.topic)
            await asyncio.sleep(self._pace.turn)

    async def _until_due(self) -> None:
        while (seconds := self._due_in()) > 0:
            self._wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds if seconds < inf else None):
                    await self._wake.wait()

    def _due_in(self) -> float:
        now = _now()
        at = inf if self._renewal_at is None else self._renewal_at
        if self._is_all_due or self._due:
            at = now
        return max(at, self._refused_at + self._pause) - now

    async def _turn(self) -> None:
        self._is_trusted, self._num_refused = False, 0
        is_renewal = self._renewal_at is not None and self._renewal_at <= _now()
        due, self._due = self._due, set()
        if self._is_all_due:
            self._is_all_due = False
            due = due.union(self._wanted.object_ids(), await self._known())
        await self._bring_about(self._in_order(due))
        if is_renewal:
            self._renewal_at, self._renewed_at = None, _now()
            try:
                await self._publish_again(self._in_order(await self._known()))
            except _RefusedError:
                self._renewal_at = _now()
                raise
        if self._is_trusted:
            self._pause, self._has_told = 0.0, False

    async def _known(self) -> list[str]:
        what = "published discovery cannot be read"
        return await until_stored(self._published.devices, what)

    def _in_order(self, object_ids: Sequence[str] | set[str]) -> list[str]:
        bridge_id = self._wanted.bridge_id
        return sorted(object_ids, key=lambda object_id: (object_id != bridge_id, object_id))

    async def _bring_about(self, object_ids: Sequence[str]) -> None:
        """Publish what differs from what is wanted of some devices."""
        steps: list[_Step] = []
        for start in range(0, len(object_ids), _MOST_DEVICES_AT_ONCE):
            group = object_ids[start : start + _MOST_DEVICES_AT_ONCE]
            published = await self._read(group)
            for object_id in group:
                steps += self._steps(object_id, published.get(object_id, {}))
                await asyncio.sleep(0)  # a device takes a quarter of a millisecond
            steps = await self._send_groups(steps)
        await self._send(steps)

    async def _publish_again(self, object_ids: Sequence[str]) -> None:
        """Publish what is published already."""
        steps: list[_Step] = []
        for start in range(0, len(object_ids), _MOST_DEVICES_AT_ONCE):
            group = object_ids[start : start + _MOST_DEVICES_AT_ONCE]
            published = await self._read(group)
            steps += [
                _Step(object_id, Change(topic, payload, payload))
                for object_id in group
                for topic, payload in published.get(object_id, {}).items()
            ]
            steps = await self._send_groups(steps)
        await self._send(steps)

    async def _read(self, object_ids: Sequence[str]) -> dict[str, dict[str, bytes]]:
        """What is published of some devices: payloads by topic, by object id."""
        read = partial(self._published.of_devices, object_ids)
        rows = await until_stored(read, "published discovery cannot be read")
        found: dict[str, dict[str, bytes]] = {}
        for topic, row in rows.items():
            found.setdefault(row.object_id, {})[topic] = row.payload
        return found

    def _steps(self, object_id: str, published: dict[str, bytes]) -> list[_Step]:
        steps: list[_Step] = []
        with contained(f"the discovery of {object_id} cannot be made"):
            wanted = self._wanted.messages(object_id, published)
            steps += [_Step(object_id, change) for change in changes(published, wanted)]
        return steps

    # Sending.

    async def _send_groups(self, steps: list[_Step]) -> list[_Step]:
        """Send whole groups, and return the rest."""
        while len(steps) >= _MOST_IN_TRANSACTION:
            await self._send(steps[:_MOST_IN_TRANSACTION])
            steps = steps[_MOST_IN_TRANSACTION:]
        return steps

    async def _send(self, steps: Sequence[_Step]) -> None:
        """Send a group, the first of a turn alone, and wait until the broker has it.

        Raises:
            _RefusedError: It will not have it; those refused count as not published.
        """
        num_alone = 0 if self._is_trusted else 1
        for group in (steps[:num_alone], steps[num_alone:]):
            if not group:
                continue
            refused = await self._send_group(group)
            self._num_refused += len(refused)
            if refused and (not self._is_trusted or self._num_refused >= _MOST_REFUSED):
                raise _RefusedError(refused[0].change.topic)
            self._is_trusted = True

    async def _send_group(self, steps: Sequence[_Step]) -> list[_Step]:
        """Send some, and return those that the broker refuses."""
        kept = {
            step.change.topic: _published(step.object_id, step.change.payload)
            for step in steps
            if step.change.payload != step.change.before
        }
        messages = [self._message(step.change) for step in steps]
        store = partial(self._published.change, kept, messages)
        written = await until_stored(store, "discovery cannot be stored")
        answers = {message.row_id: self._sender.watch(message.row_id) for message in written}
        await self._answered(answers)
        pairs = list(zip(steps, answers.values(), strict=True))
        lost = [step for step, answer in pairs if answer.cancelled()]
        refused = [step for step, answer in pairs if not answer.cancelled() and not answer.result()]
        await self._count_as_unpublished([*lost, *refused])
        self._due.update(step.object_id for step in lost)
        return refused

    async def _answered(self, answers: dict[int, asyncio.Future[bool]]) -> None:
        """Wait until the broker has answered; what left the outbox in another way is cancelled."""
        while pending := {row_id: each for row_id, each in answers.items() if not each.done()}:
            await asyncio.wait(pending.values(), timeout=self._pace.unanswered)
            waiting = partial(self._published.waiting, list(pending))
            for row_id in pending.keys() - await until_stored(waiting, "the outbox cannot be read"):
                pending[row_id].cancel()  # does nothing to one that is done

    async def _count_as_unpublished(self, steps: Sequence[_Step]) -> None:
        before = {
            step.change.topic: _published(step.object_id, step.change.before)
            for step in reversed(steps)
        }
        if before:
            restore = partial(self._published.change, before, ())
            await until_stored(restore, "refused discovery cannot be stored")

    def _message(self, change: Change) -> OutboxMessage:
        content_type = "application/json" if change.payload else None
        message = Publish(change.topic, change.payload, retain=True, content_type=content_type)
        return to_outbox(message, job_key=None, created_at=self._clock.now())

    def _stand_back(self, topic: str) -> None:
        """Try everything again, but not soon: each refused message may cost the connection."""
        self._is_all_due = True
        self._refused_at = _now()
        doubled = min(2 * self._pause, self._pace.longest_refused)
        self._pause = max(doubled, self._pace.refused)
        if not self._has_told:
            self._has_told = True
            logger.warning(
                "Home Assistant's discovery is not published: the broker refuses %s. Allow it in "
                "the broker's ACL (see mosquitto/acl), or set homeassistant.enabled to false; "
                "tried again in %.0f s",
                topic,
                self._pause,
                extra={"action": "discovery_refused"},
            )


def _published(object_id: str, payload: bytes | None) -> Published | None:
    """What stands for a payload; a cleared topic is nothing, as one that never was is."""
    return Published(object_id, payload) if payload else None


def _now() -> float:
    return asyncio.get_running_loop().time()
