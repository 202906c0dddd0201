"""Whose transactions are next at the database's one writer.

What waits while the last transaction runs is written together in the next: one flush of the disk
and one crossing to the writer's thread serve all of it. Those of critical jobs go first and by
themselves, so that they wait for what is running and for nothing else; after a few of them in a row
the others have a turn.

Among the urgent, and among the others, the order is that in which they were asked for. Between the
two there is none: whoever needs one waits for the first before asking for the second.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

# What is urgent waits for the group that is running: starts of jobs took 4 ms alone, 8 for four and
# 16 for eight together. Fewer, and the others wait for more commits.
_MOST_IN_GROUP = 4
# Frames make a transaction long, and the log of an SQLite file has to hold it.
_MOST_BYTES_IN_GROUP = 1 << 20
_MOST_URGENT_IN_A_ROW = 4


@dataclass(frozen=True, slots=True)
class Turn:
    """What is known of a transaction before it runs."""

    is_urgent: bool = False  #: for a critical job
    num_bytes: int = 0  #: of the frames in it
    is_alone: bool = False  #: shares no transaction: others could see what is rolled back with it


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """A transaction that waits for its turn, and who waits for it."""

    work: Callable[[Connection], Any]
    turn: Turn
    outcome: "asyncio.Future[Any]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Turns:
    """The transactions that wait."""

    def __init__(self) -> None:
        self._urgent: deque[Waiting] = deque()
        self._others: deque[Waiting] = deque()
        self._num_urgent_in_a_row = 0

    def __bool__(self) -> bool:
        return bool(self._urgent or self._others)

    def add(self, waiting: Waiting) -> None:
        """Let it wait behind its like."""
        (self._urgent if waiting.turn.is_urgent else self._others).append(waiting)

    def next_group(self) -> list[Waiting]:
        """Take what is to be written together now.

        Returns:
            In the order in which it is to run, without what was cancelled; empty when that was all.
        """
        if not self._others:
            self._num_urgent_in_a_row = 0
            return _take(self._urgent)
        if self._urgent and self._num_urgent_in_a_row < _MOST_URGENT_IN_A_ROW:
            self._num_urgent_in_a_row += 1
            return _take(self._urgent)
        self._num_urgent_in_a_row = 0
        return _take(self._others)


def _take(line: deque[Waiting]) -> list[Waiting]:
    group: list[Waiting] = []
    num_bytes = 0
    while line and len(group) < _MOST_IN_GROUP:
        turn = line[0].turn
        num_bytes += turn.num_bytes
        if group and (turn.is_alone or num_bytes > _MOST_BYTES_IN_GROUP):
            break
        waiting = line.popleft()
        if not waiting.outcome.done():
            group.append(waiting)
            if turn.is_alone:
                break
    return group
