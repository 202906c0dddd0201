"""What the frame of a camera looked like that was captioned last, kept with its job."""

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import Connection, select

from schemas.frame import Priority
from service.store.rows import MICROSECONDS, UNREADABLE, to_number
from service.store.tables import jobs


@dataclass(frozen=True, slots=True)
class LastCaptioned:
    """A frame that was captioned, for those to come."""

    job_key: str
    fingerprint: bytes  #: as its engine said it
    age_s: float  #: since its caption
    priority: Priority


def last_captioned(
    connection: Connection, camera_ids: Collection[str], elapsed: int
) -> dict[str, LastCaptioned]:
    """See `Store.last_captioned`; `elapsed` is the time now."""
    found: dict[str, LastCaptioned] = {}
    for camera_id in camera_ids:
        query = (
            select(jobs.c.job_key, jobs.c.fingerprint, jobs.c.ended, jobs.c.priority)
            .where(jobs.c.camera_id == camera_id, jobs.c.fingerprint.is_not(None))
            .order_by(jobs.c.ended.desc())
            .limit(1)
        )
        row = connection.execute(query).one_or_none()
        # One that cannot be read only means that one frame more is captioned.
        with suppress(*UNREADABLE):
            if row is not None and isinstance(row.fingerprint, bytes):
                age_s = max(0.0, (elapsed - to_number(row.ended)) / MICROSECONDS)
                priority = Priority(to_number(row.priority))
                found[camera_id] = LastCaptioned(row.job_key, row.fingerprint, age_s, priority)
    return found
