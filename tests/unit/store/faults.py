"""Faults that a test orders: the n-th step fails, or every n-th."""

import sqlite3

from sqlalchemy.exc import OperationalError

from service.store.database import Step


def fault(text: str = "disk I/O error") -> OperationalError:
    """What the database layer raises when the database refuses."""
    return OperationalError(None, None, sqlite3.OperationalError(text))


class FailNth:
    """Fails one step, the `n`-th of the kinds given."""

    def __init__(self, n: int, *kinds: Step) -> None:
        self.num_left = n
        self._kinds = kinds
        self.has_failed = False

    def check(self, step: Step) -> None:
        if self._kinds and step not in self._kinds:
            return
        self.num_left -= 1
        if self.num_left == 0:
            self.has_failed = True
            raise fault(f"injected before {step}")


class FailEvery:
    """Fails every `n`-th step of the kinds given, for ever."""

    def __init__(self, n: int, *kinds: Step) -> None:
        self._n = n
        self._kinds = kinds
        self._num_steps = 0
        self.num_failed = 0

    def check(self, step: Step) -> None:
        if self._kinds and step not in self._kinds:
            return
        self._num_steps += 1
        if self._num_steps % self._n == 0:
            self.num_failed += 1
            raise fault(f"injected before {step}")
