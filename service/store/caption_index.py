"""The index of captions, written in the transaction that ends a job and in the one that deletes it.

`caption_id` is the time of the end with ten bits behind it, so the newest first is the order of the
index itself, and a time is a place in it. On SQLite the words are in a table of FTS5's that keeps
no text of its own; where a SQLite has no FTS5 nothing is indexed. On PostgreSQL they are a tsvector
under a GIN index.
"""

import logging
import sqlite3
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, cast, delete, select, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.exc import DatabaseError

from schemas.result import ResultDocument
from service.store.database import in_groups
from service.store.search_terms import camera_token, tsvector, words_of_result
from service.store.sqlite import ON_FAILURE
from service.store.switches import turn
from service.store.tables import captions

logger = logging.getLogger(__name__)

UNINDEXED = "unindexed captions"  #: a switch of all services: some captions are not in the index

_BITS = 10
_LOW = (1 << _BITS) - 1
_LAST_MOMENT = 1 << 52  # in the year 2112; what is later was written by nobody
#: What SQLite says of an index that is damaged, or gone; that a disk is full is none of it.
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_ERROR}

#: Of SQLite. Beginnings of up to eight letters have an index of their own: `a*` matches everything.
CREATE_WORDS = """
    CREATE VIRTUAL TABLE caption_words USING fts5(
        camera, words, content='', columnsize=0, prefix='1 2 3 4 5 6 7 8',
        tokenize="unicode61 remove_diacritics 0"
    )
"""
# As the driver takes them: SQLAlchemy's parameters took ten times as long as SQLite's work.
_INSERT = "INSERT INTO captions (caption_id, job_key, camera_id, words) VALUES (?, ?, ?, ?)"
_INSERT_WORDS = "INSERT INTO caption_words (rowid, camera, words) VALUES (?, ?, ?)"
_DELETE_WORDS = text(
    "INSERT INTO caption_words (caption_words, rowid, camera, words) "
    "VALUES ('delete', :caption_id, :token, :words)"
)
_HAS_WORDS = text("SELECT count(*) FROM sqlite_master WHERE name = 'caption_words'")
_HAS_FTS5 = text("SELECT count(*) FROM pragma_module_list WHERE name = 'fts5'")


@dataclass(frozen=True, slots=True)
class Captioned:
    """A job that has ended with a result."""

    job_key: str
    camera_id: str
    ended_at: int  #: microseconds since 1970
    result: ResultDocument


def first_id(microseconds: int) -> int:
    """The smallest id of captions from a time on."""
    return microseconds << _BITS


def is_indexed(connection: Connection) -> bool:
    """Whether captions are indexed here; looked up once for each connection."""
    known = connection.info.get("is_indexed")
    if known is None:
        known = connection.dialect.name != "sqlite" or (
            bool(connection.scalar(_HAS_WORDS)) and has_fts5(connection)
        )
        connection.info["is_indexed"] = known
    return bool(known)


def has_fts5(connection: Connection) -> bool:
    """Whether this SQLite can search text."""
    return bool(connection.scalar(_HAS_FTS5))


def insert_captions(connection: Connection, ended: Sequence[Captioned]) -> None:
    """Index captions; those that are there already stay as they are."""
    if not ended or not is_indexed(connection):
        return
    taken = _of_moments(connection, {each.ended_at for each in ended})
    there = set(taken.values())
    rows = []
    for each in ended:
        if each.job_key in there or not 0 <= each.ended_at <= _LAST_MOMENT:
            continue
        if (caption_id := _free_id(each, taken)) is not None:
            taken[caption_id] = each.job_key
            rows.append(_row(connection, each, caption_id))
    if rows:
        rows.sort(key=lambda row: row["caption_id"])  # FTS5 writes a segment at each step back
        connection.info[ON_FAILURE] = _note_damage
        _insert(connection, rows)


def _row(connection: Connection, caption: Captioned, caption_id: int) -> dict[str, Any]:
    words = words_of_result(caption.result)
    is_sqlite = connection.dialect.name == "sqlite"
    return {
        "caption_id": caption_id,
        "job_key": caption.job_key,
        "camera_id": caption.camera_id,
        "words": " ".join(words) if is_sqlite else tsvector(caption.camera_id, words),
    }


def _insert(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(_INSERT, [tuple(row.values()) for row in rows])
        words = [(row["caption_id"], camera_token(row["camera_id"]), row["words"]) for row in rows]
        connection.exec_driver_sql(_INSERT_WORDS, words)
    else:
        names = ("caption_id", "job_key", "camera_id")
        values: dict[str, Any] = {name: bindparam(name) for name in names}
        values["words"] = cast(bindparam("words"), TSVECTOR)
        # Another service can have taken the id a moment ago.
        connection.execute(
            postgresql.insert(captions).values(values).on_conflict_do_nothing(), rows
        )


def delete_captions(connection: Connection, ended: Collection[tuple[str, int]]) -> None:
    """Forget captions, given by job key and time of their end."""
    if not ended or not is_indexed(connection):
        return
    job_keys = {job_key for job_key, _ in ended}
    there = _of_moments(connection, {moment for _, moment in ended})
    doomed = [caption_id for caption_id, job_key in there.items() if job_key in job_keys]
    for group in in_groups(doomed):
        connection.info[ON_FAILURE] = _note_damage
        if connection.dialect.name == "sqlite":
            _delete_words(connection, group)
        connection.execute(delete(captions).where(captions.c.caption_id.in_(group)))


def _delete_words(connection: Connection, caption_ids: Sequence[int]) -> None:
    """The index holds no text, so it has to be told what to take out."""
    columns = (captions.c.caption_id, captions.c.camera_id, captions.c.words)
    query = select(*columns).where(captions.c.caption_id.in_(caption_ids))
    rows = [
        {"caption_id": row.caption_id, "token": camera_token(row.camera_id), "words": row.words}
        for row in connection.execute(query)
    ]
    if rows:
        connection.execute(_DELETE_WORDS, rows)


def _note_damage(connection: Connection, error: DatabaseError) -> None:
    """A transaction that wrote to the index has failed: a damaged one is left until made anew.

    Whoever ends a job does it again, and then it is not written to. A savepoint would make it
    needless to fail, at the price of a tenth of every end.
    """
    if getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in _DAMAGED:
        logger.error(
            "the index of captions is damaged, it will be made anew: %s",
            error.orig,
            extra={"action": "index_damaged"},
        )
        connection.info["is_indexed"] = False


def make_words(connection: Connection) -> None:
    """Begin with an empty index on SQLite; what is there is to be indexed again."""
    connection.exec_driver_sql("DROP TABLE IF EXISTS caption_words")
    connection.execute(delete(captions))
    if has_fts5(connection):
        connection.exec_driver_sql(CREATE_WORDS)
    turn(connection, "", UNINDEXED, is_on=True)
    connection.info.pop("is_indexed", None)


def _of_moments(connection: Connection, moments: Collection[int]) -> dict[int, str]:
    """Job keys by id of the captions of some microseconds.

    One statement: asked for each alone, sixteen ends took a quarter longer.
    """
    found: dict[int, str] = {}
    for group in in_groups([each for each in moments if 0 <= each <= _LAST_MOMENT]):
        spans = [f"caption_id BETWEEN :first{i} AND :last{i}" for i in range(len(group))]
        asked: dict[str, int] = {}
        for i, moment in enumerate(group):
            first = first_id(moment)
            asked |= {f"first{i}": first, f"last{i}": first | _LOW}
        query = f"SELECT caption_id, job_key FROM captions WHERE {' OR '.join(spans)}"  # noqa: S608 - our own
        found |= {row[0]: row[1] for row in connection.execute(text(query), asked)}
    return found


def _free_id(caption: Captioned, taken: Collection[int]) -> int | None:
    """An id of its moment; as its job's name says, so that two services take different ones."""
    first, offset = first_id(caption.ended_at), zlib.crc32(caption.job_key.encode())
    for step in range(_LOW + 1):
        if (found := first | ((offset + step) & _LOW)) not in taken:
            return found
    return None  # 1,024 in one microsecond
