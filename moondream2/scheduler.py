"""Who runs next: which frames are encoded now, and which tasks get the key/value slots.

The most urgent work goes first at every step, and a step stays short: the crops of one vision pass
are bounded. A frame is encoded into one slot, where its tasks run one after the other; while slots
are spare, its other tasks run beside it on copies. No torch here, and no clock.

Where a frame takes longer than a step may, it is encoded over several. Either rows wait for it
(`PARTS`): one frame of a class at a time, and none while a more urgent class is being answered. Or
they go on (`BESIDE`): frames are encoded together, and the next ones follow without a gap.
"""

from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto


class Encoding(Enum):
    """How frames are encoded."""

    #: Within the step in which their rows begin.
    WHOLE = auto()
    #: One frame of a class at a time, over as many steps as it takes, between those of rows.
    PARTS = auto()
    #: Several together, over as many steps as it takes, beside those of rows.
    BESIDE = auto()


@dataclass(frozen=True, slots=True)
class Place:
    """A task, or a frame by its first task, in a slot."""

    key: str
    task: int
    slot: int


@dataclass(frozen=True, slots=True)
class Start:
    """A task begins in a slot."""

    key: str
    task: int
    slot: int
    #: Slot whose prefix has to be copied first; None when it is already there.
    source: int | None


@dataclass(slots=True)
class Plan:
    """What to do in this step, in this order."""

    #: Rows to forget; their tasks start again some other time.
    stop: list[Place] = field(default_factory=list)
    #: Frames to encode, most urgent first; for `BESIDE` to begin to, told by `encoded` when done.
    encode: list[Place] = field(default_factory=list)
    #: The frame to encode further, as far as a step goes; told by `encoded` when it is done.
    advance: Place | None = None
    #: Rows that begin.
    start: list[Start] = field(default_factory=list)


@dataclass(slots=True)
class _Job:
    key: str
    rank: tuple[float, ...]
    arrival: int
    num_crops: int
    pending: deque[int]
    #: Slots it holds, with the task that runs there; None between two tasks.
    slots: dict[int, int | None] = field(default_factory=dict)
    #: Its encoding has begun and is not done; what is done of it outlasts the loss of its slot.
    is_begun: bool = False
    #: Its prefix is in its slots, or it needs none.
    is_ready: bool = True

    @property
    def order(self) -> tuple[tuple[float, ...], bool, tuple[float, ...], int]:
        # Inside a class what was begun goes on first, so that not many frames are half encoded.
        return self.rank[:1], not self.is_begun, self.rank, self.arrival

    @property
    def home(self) -> int:
        """The slot that certainly holds its prefix."""
        return next(iter(self.slots))


class Scheduler:
    """Gives slots to tasks.

    Args:
        slots: Key/value slots there are.
        max_crops: Most crops encoded in one step; a frame that has more gets a step of its own.
        encoding: How frames are encoded.
    """

    def __init__(self, slots: int, max_crops: int, *, encoding: Encoding = Encoding.WHOLE) -> None:
        assert slots > 0, "at least one slot is needed"
        assert max_crops > 0, "at least one crop a pass is needed"
        self._all_slots, self._all_crops = slots, max_crops
        self._encoding = encoding
        #: Most rows at once.
        self.limit = slots
        #: Most crops encoded in one step.
        self.max_crops = max_crops
        self._free = set(range(slots))
        self._jobs: dict[str, _Job] = {}
        self._arrivals = 0

    def __contains__(self, key: str) -> bool:
        return key in self._jobs

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def free(self) -> int:
        """Frames that could start now on top of those that are waiting."""
        return max(0, self._num_spare - len(self._waiting()))

    @property
    def is_narrowed(self) -> bool:
        """The limits have been halved and not restored."""
        return (self.limit, self.max_crops) != (self._all_slots, self._all_crops)

    def running(self) -> list[str]:
        """Return the jobs that hold slots, most urgent first."""
        return [job.key for job in self._running()]

    def encoding(self) -> list[Place]:
        """Return the frames that are being encoded and hold a slot, most urgent first."""
        return [self._waits_in(job) for job in self._running() if not job.is_ready]

    def add(self, key: str, rank: tuple[float, ...], *, num_crops: int, num_tasks: int) -> None:
        """Let a job wait for its turn.

        Args:
            key: Its name.
            rank: Smallest first; by the first entry it may take the slots of others.
            num_crops: What encoding costs in crops, 0 for a question without a frame.
            num_tasks: Tasks to run.

        Raises:
            ValueError: A job of this name is already held.
        """
        if key in self._jobs:
            raise ValueError(f"job {key!r} is already held")
        assert num_tasks > 0, "a job needs a task"
        tasks = deque(range(num_tasks))
        self._jobs[key] = _Job(key, rank, self._arrivals, num_crops, tasks)
        self._arrivals += 1

    def remove(self, key: str) -> None:
        """Forget a job and free its slots."""
        self._free.update(self._jobs.pop(key).slots)

    def encoded(self, key: str) -> None:
        """Note that a frame that took some steps is in its slot: its tasks start with the next."""
        job = self._jobs[key]
        job.is_begun, job.is_ready = False, True

    def finish(self, key: str, slot: int) -> bool:
        """Note that the task in a slot has ended.

        Returns:
            Whether it was the last of its job, which is then forgotten.
        """
        job = self._jobs[key]
        job.slots[slot] = None
        if not job.pending:
            self._release(job, slot)
        if job.slots:
            return False
        del self._jobs[key]
        return True

    def plan(self) -> Plan:
        """Decide this step and count on it being carried out."""
        plan = Plan()
        self._admit(plan)
        for job in self._running():
            self._continue(job, plan)
        for job in self._running():
            self._spread(job, plan)
        plan.advance = self._advance()
        return plan

    def restart(self) -> None:
        """Forget what runs and let all of it wait again; tasks that have ended stay ended."""
        for job in self._jobs.values():
            job.is_begun = False
            for slot in list(job.slots):
                self._interrupt(job, slot)

    def narrow(self) -> None:
        """Halve the limits, to one row and one crop at least."""
        self.limit = max(1, self.limit // 2)
        self.max_crops = max(1, self.max_crops // 2)

    def widen(self) -> None:
        """Double the limits, to the original ones at most."""
        self.limit = min(self._all_slots, self.limit * 2)
        self.max_crops = min(self._all_crops, self.max_crops * 2)

    @property
    def _num_spare(self) -> int:
        """Slots that may be taken now; negative after the limit was halved."""
        return self.limit - (self._all_slots - len(self._free))

    def _waiting(self) -> list[_Job]:
        """Jobs without a slot, most urgent first."""
        return sorted((j for j in self._jobs.values() if not j.slots), key=lambda job: job.order)

    def _running(self) -> list[_Job]:
        """Jobs with slots, most urgent first."""
        return sorted((j for j in self._jobs.values() if j.slots), key=lambda job: job.order)

    def _admit(self, plan: Plan) -> None:
        """Give slots to waiting jobs, most urgent first and without exception.

        A small frame never overtakes a large one that no longer fits into this vision pass.
        """
        num_crops = 0
        for job in self._waiting():
            cost = 0 if self._encoding is Encoding.BESIDE and job.is_begun else job.num_crops
            if cost and num_crops and num_crops + cost > self.max_crops:
                return
            if cost and not self._may_encode(job):
                return
            if self._num_spare <= 0 and not self._make_room(job, plan):
                return
            num_crops += cost
            slot = self._take(job)
            if job.num_crops and self._encoding is not Encoding.WHOLE:
                job.is_begun, job.is_ready = True, False
                if cost and self._encoding is Encoding.BESIDE:
                    plan.encode.append(self._waits_in(job))
                continue
            task = job.slots[slot] = job.pending.popleft()
            if job.num_crops:
                plan.encode.append(Place(job.key, task, slot))
            plan.start.append(Start(job.key, task, slot, None))

    def _may_encode(self, job: _Job) -> bool:
        """Whether a frame may be encoded now that nothing less urgent counts.

        In parts, when nothing of its class is being encoded, and nothing more urgent runs at all.
        Beside rows, while less than two passes are under way: one that is worked on, and one that
        follows without a gap.
        """
        if self._encoding is Encoding.WHOLE:
            return True
        others = [each for each in self._running() if each is not job]
        under_way = [e for e in others if not e.is_ready and e.rank[:1] <= job.rank[:1]]
        if self._encoding is Encoding.PARTS:
            return not (under_way or any(each.rank[:1] < job.rank[:1] for each in others))
        num_crops = sum(each.num_crops for each in under_way)
        return not num_crops or num_crops + job.num_crops <= 2 * self.max_crops

    def _advance(self) -> Place | None:
        """Choose the frame to encode further: the most urgent, if nothing more urgent runs."""
        if self._encoding is not Encoding.PARTS:
            return None
        for job in self._running():
            if not job.is_ready:
                return self._waits_in(job) if self._may_encode(job) else None
        return None

    @staticmethod
    def _waits_in(job: _Job) -> Place:
        """Return the slot of a job that is being encoded."""
        return Place(job.key, job.pending[0], job.home)

    def _make_room(self, urgent: _Job, plan: Plan) -> bool:
        """Take a slot from the least urgent job of a greater class, if there is one."""
        running = self._running()
        if not running or running[-1].rank[:1] <= urgent.rank[:1]:
            return False
        # A frame that is not encoded yet keeps what was done of it, so it goes first.
        victim = max(running, key=lambda job: (job.rank[:1], not job.is_ready, job.order))
        # Copies go before the slot that the frame was encoded into.
        slot = list(victim.slots)[-1]
        task = victim.slots[slot] if victim.is_ready else victim.pending[0]
        if task is not None:
            plan.stop.append(Place(victim.key, task, slot))
        self._interrupt(victim, slot)
        return True

    def _continue(self, job: _Job, plan: Plan) -> None:
        """Start the next task of a job in slots whose task has ended."""
        if not job.is_ready:
            return
        for slot in [slot for slot, task in job.slots.items() if task is None]:
            if not job.pending:
                self._release(job, slot)
                continue
            task = job.slots[slot] = job.pending.popleft()
            plan.start.append(Start(job.key, task, slot, None))

    def _spread(self, job: _Job, plan: Plan) -> None:
        """Run more tasks of a job on copies of its prefix, in slots that no waiting job needs."""
        while job.is_ready and job.pending and self._num_spare > len(self._waiting()):
            source = job.home if job.num_crops else None
            slot = self._take(job)
            task = job.slots[slot] = job.pending.popleft()
            plan.start.append(Start(job.key, task, slot, source))

    def _take(self, job: _Job) -> int:
        # The lowest: rows in neighbouring slots share a pass on devices that replay one.
        slot = min(self._free)
        self._free.remove(slot)
        job.slots[slot] = None
        return slot

    def _release(self, job: _Job, slot: int) -> None:
        del job.slots[slot]
        self._free.add(slot)

    def _interrupt(self, job: _Job, slot: int) -> None:
        """Take a slot from a job; the task that ran there starts again some other time."""
        task = job.slots[slot]
        self._release(job, slot)
        if task is not None:
            job.pending.appendleft(task)
