"""Faults that a test orders."""

import sqlite3

from sqlalchemy.exc import OperationalError

from service.store.database import Step


def fault(text: str = "disk I/O error") -> OperationalError:
    """What the database layer raises when the database refuses."""
    return OperationalError(None, None, sqlite3.OperationalError(text))


class FailEvery:
    """Fails every `n`-th step of the kinds given, of all kinds when none is, for ever."""

    def __init__(self, n: int, *kinds: Step) -> None:
        self._n = n
        self._kinds = kinds
        self._num_steps = 0
        self.failed: list[Step] = []

    def fail_in(self, n: int) -> None:
        """Start counting again."""
        self._n = n
        self._num_steps = 0

    def check(self, step: Step) -> None:
        if self._kinds and step not in self._kinds:
            return
        self._num_steps += 1
        if self._num_steps % self._n == 0:
            self.failed.append(step)
            raise fault(f"injected at {step}")
