"""How many connections there are, in all and of one caller, and which one makes room.

A connection that asks nothing costs memory and a file descriptor, of which the broker's connection
and the database need some too. Where there are too many, the one that has been idle longest is
closed, of whoever has most; one that is being answered never.
"""

import resource
from collections import OrderedDict
from typing import Protocol

MOST = 2048
MOST_OF_ONE = 1024
_MOST_PIPELINED = 4096


class Connection(Protocol):
    """One that can be closed to make room."""

    def close_idle(self) -> None:
        """End it; nothing is being answered on it."""


class Connections:
    """Those of a server.

    Args:
        most: In all; half of the files that the process may open, if that is less.
        most_of_one: Of one caller; half of all, if that is less.

    Attributes:
        num_pipelined: Requests that wait for the answers to others on their connections.
    """

    def __init__(self, most: int = MOST, most_of_one: int = MOST_OF_ONE) -> None:
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.most = most if files == resource.RLIM_INFINITY else min(most, files // 2)
        self.most_of_one = max(1, min(most_of_one, self.most // 2))
        self.num_pipelined = 0
        self._num = 0
        self._nums: dict[str, int] = {}
        self._idle: dict[str, OrderedDict[Connection, None]] = {}

    @property
    def are_too_many_pipelined(self) -> bool:
        """Whether requests that wait behind others fill memory."""
        return self.num_pipelined >= _MOST_PIPELINED

    def admit(self, connection: Connection, caller: str) -> bool:
        """Count a new connection, if there is room or an idle one that makes it."""
        if self._nums.get(caller, 0) >= self.most_of_one and not self._evict(caller):
            return False
        if self._num >= self.most and not self._evict(self._busiest()):
            return False
        self._num += 1
        self._nums[caller] = self._nums.get(caller, 0) + 1
        return True

    def forget(self, connection: Connection, caller: str) -> None:
        """One that was admitted has ended."""
        self.mark_busy(connection, caller)
        self._num -= 1
        self._nums[caller] -= 1
        if not self._nums[caller]:
            del self._nums[caller]

    def mark_idle(self, connection: Connection, caller: str) -> None:
        """It waits for a request from now on, unless it did before."""
        self._idle.setdefault(caller, OrderedDict()).setdefault(connection)

    def mark_busy(self, connection: Connection, caller: str) -> None:
        """A request has come on it."""
        idle = self._idle.get(caller, OrderedDict())
        idle.pop(connection, None)
        if not idle:
            self._idle.pop(caller, None)

    def _busiest(self) -> str:
        """Who has most connections, of those who have an idle one."""
        return max(self._idle, key=lambda caller: self._nums.get(caller, 0), default="")

    def _evict(self, caller: str) -> bool:
        idle = self._idle.get(caller)
        if not idle:
            return False
        oldest = next(iter(idle))
        oldest.close_idle()
        self.forget(oldest, caller)
        return True
