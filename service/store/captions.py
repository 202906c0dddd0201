"""What the store knows of captions: the newest of each camera."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, Row, select

from schemas.job import JobStatus
from schemas.result import ResultDocument
from service.store.jobs import OF_BATCH
from service.store.tables import jobs
from service.store.unreadable import UnreadableRow, readable


def newest_results(
    connection: Connection, met: list[UnreadableRow], camera_ids: Collection[str]
) -> dict[str, ResultDocument]:
    """See `Store.newest_results`."""
    found: dict[str, ResultDocument] = {}
    for camera_id in camera_ids:
        query = (
            select(*jobs.primary_key, jobs.c.result)
            .where(
                jobs.c.camera_id == camera_id,
                jobs.c.status == JobStatus.COMPLETED.value,
                jobs.c.result.is_not(None),
                ~OF_BATCH,
            )
            .order_by(jobs.c.received_at.desc(), jobs.c.job_key.desc())
            .limit(1)
        )
        for document in readable(jobs, connection.execute(query), _to_result, met):
            found[camera_id] = document
    return found


def _to_result(row: Row[*tuple[Any, ...]]) -> ResultDocument:
    return ResultDocument.model_validate_json(row.result)
