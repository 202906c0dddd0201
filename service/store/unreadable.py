"""Rows that cannot be read: whoever meets one leaves it out and notes it.

Readers run where nothing can be written; what is noted here is ended later, by `Store.set_aside`.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError
from sqlalchemy import Row, Table

from service.store.rows import UNREADABLE

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

_MOST_PATHS = 3  # named in one reason
_MOST_CHARACTERS = 64  # of one of them


@dataclass(frozen=True, slots=True)
class UnreadableRow:
    """A row by its primary key, and what is wrong with it: never its content."""

    table: str
    key: tuple[Any, ...]
    reason: str


def readable(
    table: Table,
    rows: Iterable[Row[*tuple[Any, ...]]],
    read: Callable[[Row[*tuple[Any, ...]]], _T],
    met: list[UnreadableRow],
) -> Iterator[_T]:
    """Read what can be read, and add the others to `met`.

    Args:
        table: Whose rows they are; its primary key is among their columns.
        rows: As they come from the database.
        read: Raises one of `UNREADABLE`.
        met: Is added to.
    """
    for row in rows:
        try:
            value = read(row)
        except UNREADABLE as error:
            key = tuple(row._mapping[column.name] for column in table.primary_key)
            met.append(UnreadableRow(table.name, key, reason_of(error)))
        else:
            yield value


def reason_of(error: Exception) -> str:
    """Which fields of a row are wrong, without their values."""
    if not isinstance(error, ValidationError):
        return type(error).__name__
    paths = [".".join(map(str, problem["loc"])) for problem in error.errors(include_input=False)]
    return ", ".join(path[:_MOST_CHARACTERS] or "document" for path in paths[:_MOST_PATHS])


class UnreadableRows:
    """Those that were met and are not set aside yet, each once."""

    def __init__(self) -> None:
        self._known: set[tuple[str, tuple[Any, ...]]] = set()
        self._waiting: asyncio.Queue[UnreadableRow] = asyncio.Queue()  # no more than there are rows

    @property
    def is_empty(self) -> bool:
        """Whether all have been taken."""
        return self._waiting.empty()

    def note(self, rows: Iterable[UnreadableRow]) -> None:
        """Keep those that are new, and name them in the log."""
        for row in rows:
            if (row.table, row.key) in self._known:
                continue
            self._known.add((row.table, row.key))
            self._waiting.put_nowait(row)
            logger.error(
                "%s %s in the store cannot be read: %s",
                row.table,
                "/".join(map(str, row.key)),
                row.reason,
                extra={"action": "row_unreadable"},
            )

    async def next(self) -> UnreadableRow:
        """Wait for one that nobody has taken."""
        return await self._waiting.get()

    def settle(self, row: UnreadableRow) -> None:
        """It is set aside: should it be met again, it is another one."""
        self._known.discard((row.table, row.key))
