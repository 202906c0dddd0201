"""The bounded heap between intake and dispatch.

Cameras send faster than the model captions, so this is where the service decides what is worth
doing. It holds tickets, never pixels, and knows neither clock nor I/O: the caller says what time it
is, so tests need neither.

Rules, in this order:

1. The more important class leaves first; nothing ever outranks critical.
2. Patience: every `patience` seconds of waiting lift a ticket one class, at most to high.
3. Inside a class the cameras take turns (start-time fair queueing with one ticket as the unit of
   service, Goyal et al. 1996), so a chatty camera cannot starve a quiet one.
4. Inside a camera, and between cameras whose turn it is, `order` decides.
5. When the heap is full, one ticket of the least important class given by the senders is evicted:
   from the camera with the most waiting tickets in that class, its stalest one (with `smallest`
   its largest). It may be the newcomer.
6. Tickets of a batch stand behind those of cameras: they leave after all of their class, are not
   lifted by patience, and are evicted before any other.

Push, pop and evict cost O(log n); removal is lazy and paid for when the dead outnumber the living.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Literal

from schemas.frame import Priority

Order = Literal["oldest", "newest", "smallest"]
_Key = tuple[float, int]  # by `order`, then by arrival


@dataclass(frozen=True, slots=True)
class Ticket:
    """A waiting job: what decides when its turn comes."""

    job_key: str  #: see schemas.job
    camera_id: str
    priority: Priority
    queued_at: float  #: seconds on any clock; only differences count
    expires_at: float = float("inf")  #: on the same clock
    num_bytes: int = 0
    is_of_batch: bool = False
    is_asked_for: bool = False  #: a newer frame does not take its place


@dataclass(slots=True, eq=False)
class _Entry:
    ticket: Ticket
    rank: Priority  # the class it leaves with; patience raises it
    key: _Key  # order inside its camera, smallest first
    is_waiting: bool = True


@dataclass(slots=True, eq=False)
class _Lane:
    """The tickets of one camera in one class."""

    entries: list[tuple[_Key, _Entry]] = field(default_factory=list)
    num_waiting: int = 0
    turn: float = 0.0  # virtual time at which its next ticket may leave
    listed: tuple[float, _Key] | None = None  # its one valid place in the order of cameras


class _Turns:
    """One class: cameras take turns."""

    def __init__(self, rank: Priority) -> None:
        self._rank = rank
        self._lanes: dict[str, _Lane] = {}
        self._order: list[tuple[float, _Key, str]] = []
        self._now = 0.0  # virtual time: the turn of the ticket that left last
        self.num_waiting = 0

    def add(self, entry: _Entry) -> None:
        camera_id = entry.ticket.camera_id
        lane = self._lanes.setdefault(camera_id, _Lane())
        if lane.num_waiting == 0:
            lane.entries.clear()
            lane.turn = max(lane.turn, self._now)
        heapq.heappush(lane.entries, (entry.key, entry))
        lane.num_waiting += 1
        self.num_waiting += 1
        place = (lane.turn, lane.entries[0][0])
        if lane.listed is None or place < lane.listed:
            self._list(camera_id, lane, place)

    def discount(self, camera_id: str) -> None:
        """One ticket of the camera no longer counts; its entry is dropped when it surfaces."""
        self._lanes[camera_id].num_waiting -= 1
        self.num_waiting -= 1

    def first(self) -> _Entry | None:
        """The ticket whose turn it is; it stays."""
        while self._order:
            turn, key, camera_id = self._order[0]
            lane = self._lanes.get(camera_id)
            if lane is None or lane.listed != (turn, key):
                heapq.heappop(self._order)
                continue
            if lane.num_waiting == 0:
                heapq.heappop(self._order)
                self._retire(camera_id, lane)
                continue
            while not self._is_here(lane.entries[0][1]):
                heapq.heappop(lane.entries)
            place = (lane.turn, lane.entries[0][0])
            if place == lane.listed:
                return lane.entries[0][1]
            heapq.heappop(self._order)
            self._list(camera_id, lane, place)
        return None

    def of_camera(self, camera_id: str) -> list[Ticket]:
        """The tickets of one camera."""
        lane = self._lanes.get(camera_id)
        entries = [] if lane is None else lane.entries
        return [entry.ticket for _, entry in entries if self._is_here(entry)]

    def take(self, entry: _Entry) -> None:
        """Let the ticket that `first` returned leave."""
        lane = self._lanes[entry.ticket.camera_id]
        self._now = lane.turn
        lane.turn += 1.0
        heapq.heappop(lane.entries)
        self.discount(entry.ticket.camera_id)

    def rebuild(self) -> None:
        """Leave the dead behind."""
        self._order = []
        for camera_id, lane in list(self._lanes.items()):
            lane.entries = [(key, entry) for key, entry in lane.entries if self._is_here(entry)]
            heapq.heapify(lane.entries)
            if lane.entries:
                self._list(camera_id, lane, (lane.turn, lane.entries[0][0]))
            else:
                self._retire(camera_id, lane)

    def _is_here(self, entry: _Entry) -> bool:
        return entry.is_waiting and entry.rank is self._rank

    def _list(self, camera_id: str, lane: _Lane, place: tuple[float, _Key]) -> None:
        lane.listed = place
        heapq.heappush(self._order, (*place, camera_id))

    def _retire(self, camera_id: str, lane: _Lane) -> None:
        """An empty lane is kept only while it remembers a turn still to be paid for."""
        lane.listed = None
        if lane.turn <= self._now:
            del self._lanes[camera_id]


class _Evictions:
    """One class as its senders gave it: whom to evict. The camera with the most tickets pays."""

    def __init__(self) -> None:
        self._stalest: dict[str, list[tuple[float, int, _Entry]]] = {}
        self._num_waiting: dict[str, int] = {}
        self._cameras_with: dict[int, dict[str, None]] = {}  # number of tickets -> cameras
        self._most = 0

    def add(self, entry: _Entry, staleness: tuple[float, int]) -> None:
        camera_id = entry.ticket.camera_id
        heapq.heappush(self._stalest.setdefault(camera_id, []), (*staleness, entry))
        self._count(camera_id, +1)

    def discount(self, camera_id: str) -> None:
        self._count(camera_id, -1)

    def worst(self) -> _Entry | None:
        if self._most == 0:
            return None
        camera_id = next(iter(self._cameras_with[self._most]))
        heap = self._stalest[camera_id]
        while not heap[0][2].is_waiting:
            heapq.heappop(heap)
        return heap[0][2]

    def rebuild(self) -> None:
        """Leave the dead behind; they are not counted any more."""
        for heap in self._stalest.values():
            heap[:] = [each for each in heap if each[2].is_waiting]
            heapq.heapify(heap)

    def _count(self, camera_id: str, change: int) -> None:
        before = self._num_waiting.get(camera_id, 0)
        after = before + change
        if before:
            del self._cameras_with[before][camera_id]
            if not self._cameras_with[before]:
                del self._cameras_with[before]
        if after:
            self._cameras_with.setdefault(after, {})[camera_id] = None
            self._num_waiting[camera_id] = after
        else:
            del self._num_waiting[camera_id]
            del self._stalest[camera_id]
        self._most = max(self._most, after)
        while self._most and self._most not in self._cameras_with:
            self._most -= 1  # counts change by one, so this is one step


class JobHeap:
    """Waiting jobs in the order in which they deserve the engine.

    Args:
        capacity: Most tickets held at once.
        order: Inside one camera and class: `oldest`, `newest` or `smallest` image first.
        patience: Seconds of waiting that lift a ticket one class; infinite: never.
    """

    def __init__(
        self, capacity: int, order: Order = "oldest", patience: float = float("inf")
    ) -> None:
        if capacity < 1:
            raise ValueError("capacity must be at least 1")
        self._capacity = capacity
        self._key: Callable[[Ticket], float] = {
            "oldest": lambda ticket: ticket.queued_at,
            "newest": lambda ticket: -ticket.queued_at,
            "smallest": lambda ticket: float(ticket.num_bytes),
        }[order]
        self._evicts_largest = order == "smallest"
        self._patience = patience
        self._arrivals = count()
        self._entries: dict[str, _Entry] = {}
        self._num_gone = 0
        # The least important first; of each class, batches before cameras.
        self._turns = [_Turns(rank) for rank in Priority for _ in (True, False)]
        self._evictions = _new_evictions()
        self._lifts: list[tuple[float, int, _Entry]] = []

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, job_key: str) -> bool:
        return job_key in self._entries

    def of_camera(self, camera_id: str) -> list[Ticket]:
        """All tickets that a camera has sent, in no particular order."""
        return [ticket for turns in self._turns[1::2] for ticket in turns.of_camera(camera_id)]

    def push(self, ticket: Ticket) -> Ticket | None:
        """Add a ticket and return the one evicted to make room, if any.

        The evicted ticket can be `ticket` itself.

        Raises:
            ValueError: This job is waiting already.
        """
        if ticket.job_key in self._entries:
            raise ValueError(f"{ticket.job_key} is waiting already")
        entry = _Entry(ticket, ticket.priority, (self._key(ticket), next(self._arrivals)))
        self._add(entry)
        if len(self._entries) <= self._capacity:
            return None
        worst = next(found for each in self._evictions if (found := each.worst()) is not None)
        self._remove(worst)
        return worst.ticket

    def pop(self, now: float) -> Ticket | None:
        """Take the ticket whose turn it is, or None when nothing waits."""
        self._lift(now)
        for turns in reversed(self._turns):
            if (entry := turns.first()) is not None:
                turns.take(entry)
                self._forget(entry)
                return entry.ticket
        return None

    def most_urgent(self, now: float) -> Priority | None:
        """The class of the ticket that `pop` would take."""
        self._lift(now)
        return next((Priority(rank) for rank in reversed(Priority) if self.num_in(rank)), None)

    def is_batch_next(self, now: float) -> bool:
        """Whether the ticket that `pop` would take is of a batch."""
        self._lift(now)
        waiting = (i for i in reversed(range(len(self._turns))) if self._turns[i].num_waiting)
        return next(waiting, 1) % 2 == 0

    def num_in(self, rank: Priority) -> int:
        """How many tickets would leave with this class."""
        return sum(turns.num_waiting for turns in self._turns[2 * rank : 2 * rank + 2])

    def oldest(self) -> dict[Priority, float]:
        """Since when the longest waiting ticket of each class waits; looks at all of them."""
        found: dict[Priority, float] = {}
        for entry in self._entries.values():
            since = entry.ticket.queued_at
            found[entry.rank] = min(since, found.get(entry.rank, since))
        return found

    @property
    def num_of_batches(self) -> int:
        """How many tickets are of batches."""
        return sum(turns.num_waiting for turns in self._turns[::2])

    @property
    def room(self) -> int:
        """How many more it holds without evicting any."""
        return self._capacity - len(self._entries)

    def position(self, job_key: str) -> int:
        """How many leave before it and itself, by class; with turns it may come sooner.

        Raises:
            KeyError: The job does not wait here.
        """
        first = _number_of_turns(self._entries[job_key])
        return sum(turns.num_waiting for turns in self._turns[first:])

    def remove(self, job_key: str) -> Ticket | None:
        """Take a job out of turn; None when it does not wait here."""
        entry = self._entries.get(job_key)
        if entry is None:
            return None
        self._remove(entry)
        return entry.ticket

    def _turns_of(self, entry: _Entry) -> _Turns:
        return self._turns[_number_of_turns(entry)]

    def _add(self, entry: _Entry) -> None:
        self._entries[entry.ticket.job_key] = entry
        self._turns_of(entry).add(entry)
        ticket = entry.ticket
        staleness = -float(ticket.num_bytes) if self._evicts_largest else ticket.queued_at
        self._evictions[_number_of_evictions(ticket)].add(entry, (staleness, entry.key[1]))
        self._schedule_lift(entry)

    def _remove(self, entry: _Entry) -> None:
        self._turns_of(entry).discount(entry.ticket.camera_id)
        self._forget(entry)

    def _forget(self, entry: _Entry) -> None:
        entry.is_waiting = False
        del self._entries[entry.ticket.job_key]
        self._evictions[_number_of_evictions(entry.ticket)].discount(entry.ticket.camera_id)
        self._num_gone += 1
        if self._num_gone > max(1024, 2 * len(self._entries)):
            self._rebuild()

    def _schedule_lift(self, entry: _Entry) -> None:
        is_patient = entry.rank >= Priority.HIGH or entry.ticket.is_of_batch
        if is_patient or self._patience == float("inf"):
            return
        num_lifts = entry.rank - entry.ticket.priority + 1
        due = entry.ticket.queued_at + num_lifts * self._patience
        heapq.heappush(self._lifts, (due, entry.key[1], entry))

    def _lift(self, now: float) -> None:
        while self._lifts and self._lifts[0][0] <= now:
            _, _, entry = heapq.heappop(self._lifts)
            if not entry.is_waiting:
                continue
            self._turns_of(entry).discount(entry.ticket.camera_id)
            entry.rank = Priority(entry.rank + 1)
            self._turns_of(entry).add(entry)
            self._schedule_lift(entry)

    def _rebuild(self) -> None:
        """Leave the dead behind: linear, but only after twice as many removals as are left."""
        self._num_gone = 0
        for turns in self._turns:
            turns.rebuild()
        for evictions in self._evictions:
            evictions.rebuild()
        self._lifts = [each for each in self._lifts if each[2].is_waiting]
        heapq.heapify(self._lifts)


def _number_of_turns(entry: _Entry) -> int:
    return 2 * entry.rank + (not entry.ticket.is_of_batch)


def _new_evictions() -> list[_Evictions]:
    """Of batches, then of each class of the cameras' tickets, the least important first."""
    return [_Evictions() for _ in range(1 + len(Priority))]


def _number_of_evictions(ticket: Ticket) -> int:
    return 0 if ticket.is_of_batch else 1 + ticket.priority
