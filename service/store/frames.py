"""What the store does to images, as functions of a connection inside a transaction."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, func, insert, literal, select

from service.store.database import in_groups
from service.store.tables import frames, jobs

# One step holds up acknowledgements: more frames in it and cameras wait, fewer and each pays for a
# commit. `python -m bench.store` prints what a step takes.
_FRAMES_PER_STEP = 50


def insert_frames(connection: Connection, images: Mapping[str, bytes]) -> None:
    """Keep images by job key."""
    rows = [
        {"job_key": job_key, "num_bytes": len(image), "image": image}
        for job_key, image in images.items()
    ]
    if rows:
        connection.execute(insert(frames), rows)


def image_of(connection: Connection, job_key: str) -> bytes | None:
    """See `Store.image`."""
    return images_of(connection, [job_key]).get(job_key)


def images_of(connection: Connection, job_keys: Sequence[str]) -> dict[str, bytes]:
    """The images of these jobs, as far as they are kept."""
    images: dict[str, Any] = {}  # SQLite keeps any type in any column
    for group in in_groups(job_keys):
        query = select(frames.c.job_key, frames.c.image).where(frames.c.job_key.in_(group))
        images |= dict(connection.execute(query).all())
    return {job_key: image for job_key, image in images.items() if isinstance(image, bytes)}


def has_frame(connection: Connection, job_key: str) -> bool:
    """Whether an image is kept."""
    query = select(frames.c.job_key).where(frames.c.job_key == job_key)
    return connection.scalar(query) is not None


def copy_frame(connection: Connection, job_key: str, other_key: str) -> bool:
    """Keep the image of a job for another one too; False when it is not kept."""
    columns = (frames.c.num_bytes, frames.c.image)
    image = select(literal(other_key), *columns).where(frames.c.job_key == job_key)
    copied = connection.execute(
        insert(frames).from_select(["job_key", "num_bytes", "image"], image)
    )
    return bool(copied.rowcount)


def delete_frames(connection: Connection, job_keys: Sequence[str]) -> None:
    """Forget the images of these jobs."""
    for group in in_groups(job_keys):
        connection.execute(delete(frames).where(frames.c.job_key.in_(group)))


def total_bytes(connection: Connection) -> int:
    """Of all images."""
    return int(connection.scalar(select(func.coalesce(func.sum(frames.c.num_bytes), 0))) or 0)


def drop_some_finished(connection: Connection, target_bytes: int) -> int:
    """One step of `Store.drop_finished_frames`; others can write after it.

    Returns:
        How many were deleted; 0 when there is nothing more to do.
    """
    excess = total_bytes(connection) - target_bytes
    if excess <= 0:
        return 0
    query = select(frames.c.job_key, frames.c.num_bytes).join(jobs)
    query = query.where(jobs.c.ended.is_not(None)).order_by(jobs.c.ended)
    dropped = []
    for job_key, num_bytes in connection.execute(query.limit(_FRAMES_PER_STEP)).all():
        if excess <= 0:
            break
        dropped.append(job_key)
        excess -= num_bytes if isinstance(num_bytes, int) else 0
    delete_frames(connection, dropped)
    return len(dropped)
