"""Captions of before there was a search are indexed, in small steps beside everything else."""

import asyncio
import logging
from typing import Any

from sqlalchemy import Connection, Row, func, select, tuple_

from schemas.job import JobStatus
from schemas.result import ResultDocument
from service.errors import StoreError
from service.store.caption_index import (
    UNINDEXED,
    Captioned,
    has_fts5,
    insert_captions,
    is_indexed,
    make_words,
)
from service.store.database import Database
from service.store.rows import UNREADABLE, to_number
from service.store.switches import is_on, turn
from service.store.tables import jobs
from service.store.turns import Turn

logger = logging.getLogger(__name__)

# A step holds up acknowledgements for some 30 ms; `python -m bench.search` prints what it takes.
_CAPTIONS_PER_STEP = 200
_PAUSE_S = 0.05
_LOOK_S = 60.0  # an index that is found damaged is made anew
_TELL_EVERY = 10_000

_Place = tuple[int, str]  # arrival and key of a job


class CaptionIndexing:
    """Indexes what is not indexed yet, the newest first.

    Args:
        database: Open.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run(self) -> None:
        """Look for ever; nearly always there is nothing to do."""
        while True:
            try:
                # Alone: each connection remembers whether there is an index.
                if await self._database.write_in_turn(Turn(is_alone=True), _prepare):
                    await self.index()
            except StoreError as error:
                logger.warning("captions not indexed: %s", error, extra={"action": "store_failed"})
            await asyncio.sleep(_LOOK_S)

    async def index(self) -> None:
        """Index all captions.

        Raises:
            StoreError: It is to be begun again.
        """
        total = await self._database.read(_count)
        done, told = 0, 0
        place: _Place | None = (1 << 62, "")
        while place is not None:
            num, place = await self._database.write(_index_some, place)
            done += num
            if done - told >= _TELL_EVERY:
                told = done
                _tell("%d of %d captions are indexed for the search", done, total)
            await asyncio.sleep(_PAUSE_S)
        await self._database.write(turn, "", UNINDEXED, is_on=False)
        _tell("%d captions are indexed for the search", done)


def _tell(message: str, *args: int) -> None:
    logger.info(message, *args, extra={"action": "captions_indexed"})


def _prepare(connection: Connection) -> bool:
    """Whether there is something to index; an index that could not be made before is made."""
    if not is_indexed(connection):
        if connection.dialect.name != "sqlite" or not has_fts5(connection):
            return False
        make_words(connection)
    return is_on(connection, "", UNINDEXED)


def _count(connection: Connection) -> int:
    query = select(func.count()).where(jobs.c.status == JobStatus.COMPLETED.value)
    return int(connection.scalar(query) or 0)


def _index_some(connection: Connection, place: _Place) -> tuple[int, _Place | None]:
    """Index those behind a place; how many, and where the next ones are."""
    position = tuple_(jobs.c.received_at, jobs.c.job_key)
    columns = (jobs.c.job_key, jobs.c.camera_id, jobs.c.finished_at, jobs.c.result)
    query = (
        select(*columns, jobs.c.received_at)
        .where(jobs.c.status == JobStatus.COMPLETED.value, position < place)
        .order_by(jobs.c.received_at.desc(), jobs.c.job_key.desc())
        .limit(_CAPTIONS_PER_STEP)
    )
    rows = connection.execute(query).all()
    insert_captions(connection, [found for row in rows if (found := _read(row)) is not None])
    is_last = len(rows) < _CAPTIONS_PER_STEP
    return len(rows), None if is_last else (rows[-1].received_at, rows[-1].job_key)


def _read(row: Row[*tuple[Any, ...]]) -> Captioned | None:
    """None for a row that cannot be read, which whoever asks for the job meets."""
    try:
        ended_at, result = (
            to_number(row.finished_at),
            ResultDocument.model_validate_json(row.result),
        )
    except UNREADABLE:
        return None
    return Captioned(row.job_key, row.camera_id, ended_at, result)
