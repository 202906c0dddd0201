import pytest
from sqlalchemy import Connection, text

from service.store.folder_files import TakenFile
from service.store.store import Store

pytestmark = pytest.mark.both_databases

FOLDER, OTHER = "f" * 32, "e" * 32
LIMIT = 10


def taken(name: str, changed: int, size: int = 1) -> TakenFile:
    return TakenFile(name, modified=2**62, size=size, changed=changed)


async def test_files_are_known_newest_first_and_by_folder(store: Store) -> None:
    for file in (taken("a", 1), taken("b", 3), taken("c", 2)):
        await store.folder_files.remember(FOLDER, file, floor=0)
    await store.folder_files.remember(OTHER, taken("d", 4), floor=0)
    assert await store.folder_files.known(FOLDER, floor=0, limit=2) == [
        taken("b", 3),
        taken("c", 2),
    ]


async def test_file_of_the_same_name_takes_the_place_of_the_earlier_one(store: Store) -> None:
    await store.folder_files.remember(FOLDER, taken("a", 1), floor=0)
    await store.folder_files.remember(FOLDER, taken("a", 2, size=7), floor=0)
    assert await store.folder_files.known(FOLDER, 0, LIMIT) == [taken("a", 2, size=7)]


async def test_old_files_are_forgotten(store: Store) -> None:
    await store.folder_files.remember(FOLDER, taken("a", 1), floor=0)
    await store.folder_files.remember(FOLDER, taken("b", 5), floor=3)
    assert await store.folder_files.known(FOLDER, 0, LIMIT) == [taken("b", 5)]
    assert await store.folder_files.known(FOLDER, 6, LIMIT) == []


async def test_row_that_cannot_be_read_is_passed_over(store: Store, store_url: str) -> None:
    if not store_url.startswith("sqlite"):
        pytest.skip("only SQLite keeps any type in any column")
    await store.folder_files.remember(FOLDER, taken("a", 1), floor=0)
    await store.folder_files.remember(FOLDER, taken("b", 2), floor=0)

    def spoil(connection: Connection) -> None:
        connection.execute(text("UPDATE folder_files SET modified = 'x' WHERE file = 'a'"))

    await store._database.write(spoil)
    assert await store.folder_files.known(FOLDER, 0, LIMIT) == [taken("b", 2)]
