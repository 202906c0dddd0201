"""Which files of watched folders were taken, as they were then.

Bounded: what is older than a folder's `max_age` is never looked for again, and of the rest the
newest count; see `service.folders.scan`.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select

from service.store.database import Database
from service.store.rows import UNREADABLE, to_number
from service.store.tables import folder_files


@dataclass(frozen=True, slots=True)
class TakenFile:
    """A file; times in nanoseconds since 1970."""

    file: str  #: names its path
    modified: int
    size: int
    changed: int  #: of its inode


class FolderFiles:
    """The files that one instance has taken.

    Every method raises `StoreError` when the database refuses.

    Args:
        database: Open.
        instance: Its name among those that share the database.
    """

    def __init__(self, database: Database, instance: str) -> None:
        self._database = database
        self._instance = instance

    async def known(self, folder: str, floor: int, limit: int) -> list[TakenFile]:
        """The newest files of a folder; those that were last changed before `floor` are deleted."""
        return await self._database.write(_known, self._instance, folder, floor, limit)

    async def remember(self, folder: str, taken: TakenFile, floor: int) -> None:
        """Add a file, in place of an earlier one of that name, and delete what is too old."""
        await self._database.write(_remember, self._instance, folder, taken, floor)


def _known(
    connection: Connection, instance: str, folder: str, floor: int, limit: int
) -> list[TakenFile]:
    _delete_old(connection, instance, folder, floor)
    query = (
        select(folder_files)
        .where(folder_files.c.instance == instance, folder_files.c.folder == folder)
        .order_by(folder_files.c.changed.desc())
        .limit(limit)
    )
    found = []
    for row in connection.execute(query):
        try:
            times = to_number(row.modified), to_number(row.size), to_number(row.changed)
            found.append(TakenFile(str(row.file), *times))
        except UNREADABLE:  # only means that one file is taken again
            continue
    return found


def _remember(
    connection: Connection, instance: str, folder: str, taken: TakenFile, floor: int
) -> None:
    _delete_old(connection, instance, folder, floor)
    this = (
        folder_files.c.instance == instance,
        folder_files.c.folder == folder,
        folder_files.c.file == taken.file,
    )
    connection.execute(delete(folder_files).where(*this))
    connection.execute(
        insert(folder_files).values(
            instance=instance,
            folder=folder,
            file=taken.file,
            modified=taken.modified,
            size=taken.size,
            changed=taken.changed,
        )
    )


def _delete_old(connection: Connection, instance: str, folder: str, floor: int) -> None:
    connection.execute(
        delete(folder_files).where(
            folder_files.c.instance == instance,
            folder_files.c.folder == folder,
            folder_files.c.changed < floor,
        )
    )
