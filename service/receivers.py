"""When which webhook URL may be tried: order, pauses and circuits, without I/O and without a clock.

Messages for one URL go one after another, so that they arrive in order. A URL whose receiver
answered badly pauses on its own. A host that does not answer at all opens its circuit: after
`_SILENCE_OPENS` silent attempts in a row nothing is sent to any URL of it until a pause has passed,
and then one attempt finds out whether it is back. So a dead receiver costs one attempt now and
then, and the others never wait for it.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

_SILENCE_OPENS = 3  # fewer would punish one lost packet, more would hold up the others' attempts


@dataclass(slots=True, eq=False)
class _Receiver:
    """One scheme, host and port."""

    num_urls: int = 0
    num_active: int = 0
    num_silent: int = 0  # attempts without an answer since the last answer
    retry_at: float = 0.0  # when an open circuit lets the next attempt through
    waiting: dict[str, None] = field(default_factory=dict)  # URLs, first come first served

    def room(self, concurrency: int, now: float) -> int:
        if self.num_silent < _SILENCE_OPENS:
            return concurrency - self.num_active
        return 1 if now >= self.retry_at and not self.num_active else 0


@dataclass(slots=True, eq=False)
class _Line:
    """The messages of one URL; only URLs with something to remember have one."""

    receiver: _Receiver
    is_active: bool = False
    is_failing: bool = False
    not_before: float = 0.0


class Receivers:
    """Decides whose turn it is.

    Args:
        concurrency: Requests at once to one scheme, host and port.
        total: Requests at once to all.
        origin_of: The scheme, host and port of a URL.
    """

    def __init__(self, concurrency: int, total: int, origin_of: Callable[[str], str]) -> None:
        self._concurrency = concurrency
        self._room = total
        self._origin_of = origin_of
        self._lines: dict[str, _Line] = {}
        self._receivers: dict[str, _Receiver] = {}

    @property
    def failing(self) -> list[str]:
        """Origins with a URL whose last attempt failed."""
        return sorted(
            {self._origin_of(url) for url, each in self._lines.items() if each.is_failing}
        )

    def blocked(self, now: float) -> set[str]:
        """The URLs that have no turn now."""
        urls = {url for url, line in self._lines.items() if line.is_active or line.not_before > now}
        for receiver in self._receivers.values():
            room = min(self._room, receiver.room(self._concurrency, now))
            urls.update(list(receiver.waiting)[max(0, room) :])
        return urls

    def admit(self, url: str, now: float) -> bool:
        """Begin with a URL that has messages and is not blocked; False lets it wait its turn."""
        line = self._lines.get(url) or self._remember(url)
        receiver = line.receiver
        if min(self._room, receiver.room(self._concurrency, now)) <= 0:
            receiver.waiting[url] = None
            return False
        receiver.waiting.pop(url, None)
        receiver.num_active += 1
        self._room -= 1
        line.is_active = True
        return True

    def release(self, url: str) -> None:
        """End what `admit` began."""
        line = self._lines[url]
        line.is_active = False
        line.receiver.num_active -= 1
        self._room += 1
        if line.receiver.waiting:
            line.receiver.waiting[url] = None  # it may have more, but the others come first
        elif not line.is_failing:
            self._forget(url)

    def is_failing(self, url: str) -> bool:
        """Whether the last attempt at it failed."""
        return self._lines[url].is_failing

    def answered(self, url: str) -> None:
        """Note that its host is there: the circuit closes."""
        self._lines[url].receiver.num_silent = 0

    def delivered(self, url: str) -> None:
        """Note a success."""
        self.answered(url)
        self._lines[url].is_failing = False

    def silent(self, url: str) -> int:
        """Note that its host did not answer; return how often that was in a row."""
        receiver = self._lines[url].receiver
        receiver.num_silent += 1
        return receiver.num_silent

    def hold(self, url: str, until: float) -> None:
        """If the circuit of its host is open, leave it so until `until`."""
        self._lines[url].receiver.retry_at = until

    def pause(self, url: str, until: float) -> None:
        """Do not try the URL again before `until`."""
        line = self._lines[url]
        line.is_failing = True
        line.not_before = until

    def keep_only(self, urls: Collection[str]) -> bool:
        """Forget all others: they had a turn and no messages.

        Returns:
            Whether there were any; those who waited behind them then have a turn.
        """
        idle = set(self._lines).difference(urls)
        for url in idle:
            self._forget(url)
        return bool(idle)

    def next_turn(self, now: float) -> float | None:
        """When a URL that is blocked by time alone is no longer so; None when there is none."""
        return min((moment for moment in self._moments() if moment > now), default=None)

    def _moments(self) -> Iterator[float]:
        for line in self._lines.values():
            if not line.is_active:
                yield line.not_before
        for receiver in self._receivers.values():
            if receiver.waiting:
                yield receiver.retry_at

    def _remember(self, url: str) -> _Line:
        receiver = self._receivers.setdefault(self._origin_of(url), _Receiver())
        receiver.num_urls += 1
        line = self._lines[url] = _Line(receiver)
        return line

    def _forget(self, url: str) -> None:
        receiver = self._lines.pop(url).receiver
        receiver.waiting.pop(url, None)
        receiver.num_urls -= 1
        if not receiver.num_urls:
            del self._receivers[self._origin_of(url)]
