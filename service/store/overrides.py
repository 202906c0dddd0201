"""Camera settings that were changed at run time, as functions of a connection."""

import json
import logging
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from schemas.frame import is_camera_id
from service.store.rows import UNREADABLE
from service.store.tables import cameras

logger = logging.getLogger(__name__)


def all_overrides(connection: Connection) -> dict[str, dict[str, Any]]:
    """See `Store.camera_overrides`."""
    found = {}
    for camera_id, settings in connection.execute(select(cameras.c.camera_id, cameras.c.settings)):
        try:
            found[camera_id] = _read(camera_id, settings)
        except UNREADABLE as error:
            logger.error(
                "camera %s: what was changed at run time cannot be read and is ignored: %s",
                camera_id,
                type(error).__name__,
                extra={"action": "override_unreadable"},
            )
    return found


def set_override(connection: Connection, camera_id: str, settings: Mapping[str, Any]) -> None:
    """See `Store.set_camera_override`."""
    connection.execute(delete(cameras).where(cameras.c.camera_id == camera_id))
    if settings:
        row = {"camera_id": camera_id, "settings": json.dumps(dict(settings))}
        connection.execute(insert(cameras), row)


def _read(camera_id: str, settings: str) -> dict[str, Any]:
    if not is_camera_id(camera_id):
        raise ValueError("no camera can have this id")
    content = json.loads(settings)
    if not isinstance(content, dict):
        raise TypeError("is not an object")
    return content
