"""The cameras that were seen, and what was changed at run time, as functions of a connection."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, or_, select, update

from schemas.frame import is_camera_id
from schemas.outbox import OutboxMessage
from service.store.outbox import insert_messages
from service.store.rows import UNREADABLE, Stamp, to_number
from service.store.tables import cameras

logger = logging.getLogger(__name__)

_TOLERANCE = 1_000_000  # microseconds: a moment that is converted twice may differ by one
_SEEN = (
    update(cameras)
    .where(cameras.c.camera_id == bindparam("this_camera"))
    .values(seen=bindparam("this_seen"))
)
_NAMED = (
    update(cameras)
    .where(cameras.c.camera_id == bindparam("this_camera"))
    .values(name=bindparam("this_name"))
)


@dataclass(frozen=True, slots=True)
class KeptCamera:
    """What is known of a camera from earlier."""

    seen: float | None = None  #: when its newest frame came; in the table elapsed, else monotonic
    overrides: dict[str, Any] = field(default_factory=dict)
    name: str | None = None  #: what a foreign system calls it


def all_cameras(connection: Connection) -> dict[str, KeptCamera]:
    """See `Store.kept_cameras`; `seen` is elapsed time."""
    found = {}
    for camera_id, seen, settings, name in connection.execute(
        select(cameras.c.camera_id, cameras.c.seen, cameras.c.settings, cameras.c.name)
    ):
        try:
            overrides = _read(camera_id, settings)
            moment = None if seen is None else to_number(seen)
            kept_name = name if isinstance(name, str) else None  # SQLite keeps any type
            found[camera_id] = KeptCamera(moment, overrides, kept_name)
        except UNREADABLE as error:
            logger.error(
                "camera %s: what was changed at run time cannot be read and is ignored: %s",
                camera_id,
                type(error).__name__,
                extra={"action": "override_unreadable"},
            )
    return found


def save(
    connection: Connection,
    seen: Mapping[str, int | None],
    forgotten: Mapping[str, tuple[int, Sequence[OutboxMessage]]],
    names: Mapping[str, str],
    stamp: Stamp,
) -> list[OutboxMessage]:
    """See `Store.save_cameras`; times are elapsed."""
    written: list[OutboxMessage] = []
    for camera_id, (last_seen, messages) in forgotten.items():
        # Another service on this database may have seen it since: then it is not forgotten there.
        is_silent = or_(cameras.c.seen.is_(None), cameras.c.seen <= last_seen + _TOLERANCE)
        query = delete(cameras).where(cameras.c.camera_id == camera_id, is_silent)
        if connection.execute(query).rowcount:
            written += insert_messages(connection, messages, stamp)
    if seen:
        known = set(
            connection.scalars(
                select(cameras.c.camera_id).where(cameras.c.camera_id.in_(list(seen)))
            )
        )
        if old := [each for each in seen if each in known]:
            rows = [{"this_camera": each, "this_seen": seen[each]} for each in old]
            connection.execute(_SEEN, rows)
        if new := [each for each in seen if each not in known]:
            rows = [{"camera_id": each, "seen": seen[each], "settings": "{}"} for each in new]
            connection.execute(insert(cameras), rows)
    if names:
        rows = [{"this_camera": each, "this_name": names[each]} for each in names]
        connection.execute(_NAMED, rows)
    return written


def set_override(
    connection: Connection,
    camera_id: str,
    settings: Mapping[str, Any] | None,
    messages: Sequence[OutboxMessage],
    stamp: Stamp,
) -> list[OutboxMessage]:
    """See `Store.set_camera_override`."""
    this = cameras.c.camera_id == camera_id
    if settings is None:
        connection.execute(delete(cameras).where(this))
        return insert_messages(connection, messages, stamp)
    text = json.dumps(dict(settings))
    if not connection.execute(update(cameras).where(this).values(settings=text)).rowcount:
        connection.execute(insert(cameras), {"camera_id": camera_id, "settings": text})
    return insert_messages(connection, messages, stamp)


def _read(camera_id: str, settings: str) -> dict[str, Any]:
    if not is_camera_id(camera_id):
        raise ValueError("no camera can have this id")
    content = json.loads(settings)
    if not isinstance(content, dict):
        raise TypeError("is not an object")
    return content
