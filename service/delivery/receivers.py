"""When which receiver of webhooks may be sent to: turns, pauses and circuits, without I/O or clock.

A receiver is a scheme, host and port; its URLs are told apart by a number, their destination key.
Messages for one URL go one after another, so that they arrive in order, and a URL that was answered
badly pauses on its own. The circuit of a receiver opens, so that nothing is sent to any of its URLs
until a pause has passed and one attempt finds out whether it is back,

- after `_SILENCE_OPENS` attempts in a row without any answer,
- when more than `_MOST_PAUSED` of its URLs fail at once.

So a dead receiver costs one attempt now and then, and the others never wait for it. What is
remembered is bounded whatever URLs and hosts are invented: a receiver that does not fit is sent to
later, from the store, and one that is forgotten is tried anew.
"""

import heapq
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from math import inf

_SILENCE_OPENS = 3  # fewer would punish one lost packet, more would hold up the others' attempts
# URLs that fail each at its own pace. Fewer, and a host with many dead URLs delays its living ones;
# more, and each pause of the host is preceded by as many attempts.
_MOST_PAUSED = 32
_MOST_RECEIVERS = 1000  # 5 MB at worst; of more that are down some are tried sooner


@dataclass(frozen=True, slots=True)
class Turn:
    """Who may be sent to now."""

    receiver: str
    after: int | None  #: destination key of the URL that had the last turn
    skip: Collection[int]  #: destination keys of the URLs that are busy or pause
    num_urls: int  #: most requests to begin


@dataclass(slots=True, eq=False)
class _Receiver:
    active: set[int] = field(default_factory=set)  # destination keys with a request under way
    paused: dict[int, float] = field(default_factory=dict)  # those that failed: not before when
    num_silent: int = 0  # attempts in a row without an answer
    num_crowded: int = 0  # failures in a row while too many URLs fail to remember each
    retry_at: float = 0.0  # when an open circuit lets the next attempt through
    last_key: int | None = None
    wake_at: float = inf  # the earliest of the moments that it has asked to be woken at

    @property
    def is_open(self) -> bool:
        return self.num_silent >= _SILENCE_OPENS or self.num_crowded > 0

    @property
    def is_failing(self) -> bool:
        return self.is_open or bool(self.paused)

    def room(self, concurrency: int, now: float) -> int:
        if self.is_open:
            return 1 if now >= self.retry_at and not self.active else 0
        return concurrency - len(self.active)


class Receivers:
    """Decides whose turn it is.

    Args:
        concurrency: Requests at once to one receiver.
        total: Requests at once to all.
        most_known: Receivers remembered at once.
    """

    def __init__(self, concurrency: int, total: int, most_known: int = _MOST_RECEIVERS) -> None:
        self._concurrency = concurrency
        self._room = total
        self._most_known = most_known
        self._known: dict[str, _Receiver] = {}
        self._unread: dict[str, None] = {}  # may have messages whose turn it is; first come first
        self._moments: list[tuple[float, str]] = []  # when to look at whom again
        self.is_complete = True  #: whether nobody was forgotten or turned away

    @property
    def failing(self) -> list[str]:
        """Receivers with a URL whose last attempt failed."""
        return sorted(name for name, each in self._known.items() if each.is_failing)

    def expect(self, name: str) -> bool:
        """There may be messages for it; False: too many wait already, ask again later."""
        if name not in self._known:
            if len(self._known) >= self._most_known and not self._make_room():
                return False
            self._known[name] = _Receiver()
        self._unread[name] = None
        return True

    def next_turn(self, now: float) -> Turn | None:
        """Whose messages to read next; `begin` follows, or `expect` when they cannot be read."""
        self._wake(now)
        while self._unread and self._room > 0:
            name = next(iter(self._unread))
            del self._unread[name]
            receiver = self._known[name]
            room = min(self._room, receiver.room(self._concurrency, now))
            if room > 0:
                paused = {key for key, until in receiver.paused.items() if until > now}
                return Turn(name, receiver.last_key, receiver.active | paused, room)
            if receiver.is_open:
                self._wake_at(name, receiver, receiver.retry_at)
        return None

    def begin(self, turn: Turn, keys: Collection[int], now: float) -> None:
        """Begin a request to each of these URLs: what was found to be sent.

        Args:
            turn: As `next_turn` gave it.
            keys: Fewer than `turn.num_urls` when no other URL has messages that are due.
            now: As it was given to `next_turn`.
        """
        receiver = self._known.setdefault(turn.receiver, _Receiver())  # forgotten meanwhile?
        for key in keys:
            receiver.active.add(key)
            receiver.last_key = key
            self._room -= 1
        if len(keys) == turn.num_urls:
            self._unread[turn.receiver] = None
            return
        for key, until in list(receiver.paused.items()):
            if until > now:
                self._wake_at(turn.receiver, receiver, until)
            elif key not in receiver.active:
                del receiver.paused[key]  # had its turn and no messages
        if not (receiver.active or receiver.paused or turn.receiver in self._unread):
            del self._known[turn.receiver]

    def release(self, name: str, key: int) -> None:
        """End what `begin` began."""
        self._known[name].active.remove(key)
        self._room += 1
        self._unread[name] = None

    def is_open(self, name: str) -> bool:
        """Whether its circuit is open."""
        return self._known[name].is_open

    def is_failing(self, name: str, key: int) -> bool:
        """Whether the last attempt at the URL failed, or its receiver is not to be spoken to."""
        return key in self._known[name].paused or self._known[name].is_open

    def answered(self, name: str) -> None:
        """Note that the receiver is there."""
        self._known[name].num_silent = 0

    def delivered(self, name: str, key: int) -> None:
        """Note a success: the circuit closes."""
        receiver = self._known[name]
        receiver.num_silent = receiver.num_crowded = 0
        receiver.paused.pop(key, None)
        self._unread[name] = None  # its other URLs may wait for this news

    def silent(self, name: str) -> int:
        """Note that it did not answer; return how often that was in a row."""
        self._known[name].num_silent += 1
        return self._known[name].num_silent

    def hold(self, name: str, until: float) -> None:
        """If its circuit is open, leave it so until `until`."""
        self._known[name].retry_at = until

    def pause(self, name: str, key: int, until: float) -> int:
        """Do not try the URL again before `until`.

        Returns:
            0, or how often in a row its receiver has failed with more URLs than are remembered: it
            is to be held for that.
        """
        receiver = self._known[name]
        if key in receiver.paused or len(receiver.paused) < _MOST_PAUSED:
            receiver.paused[key] = until
            self._wake_at(name, receiver, until)
            if not receiver.num_crowded:
                return 0
        receiver.num_crowded += 1
        return receiver.num_crowded

    def next_moment(self) -> float:
        """When somebody's pause ends next; infinite when there is none."""
        return self._moments[0][0] if self._moments else inf

    def _wake_at(self, name: str, receiver: _Receiver, moment: float) -> None:
        if moment < receiver.wake_at:
            receiver.wake_at = moment
            heapq.heappush(self._moments, (moment, name))
        if (
            len(self._moments) > 2 * len(self._known) + 64
        ):  # most have been overtaken by earlier ones
            self._moments = [
                (each.wake_at, name) for name, each in self._known.items() if each.wake_at < inf
            ]
            heapq.heapify(self._moments)

    def _wake(self, now: float) -> None:
        while self._moments and self._moments[0][0] <= now:
            moment, name = heapq.heappop(self._moments)
            receiver = self._known.get(name)
            if receiver is not None and receiver.wake_at == moment:
                receiver.wake_at = inf
                self._unread[name] = None

    def _make_room(self) -> bool:
        """Forget the receiver that has been failing longest, for one that may be alive."""
        self.is_complete = False
        name = next(self._idle_and_failing(), None)
        if name is None:
            return False
        del self._known[name]
        self._unread.pop(name, None)
        return True

    def _idle_and_failing(self) -> Iterator[str]:
        return (name for name, each in self._known.items() if each.is_failing and not each.active)
