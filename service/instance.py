"""The service's own name: made once, kept beside the database, the same at every start.

Rows in a shared database and the session on the broker hang on it, so it is written whole or not
at all, and is not the client id: that is a setting, and settings change.
"""

import logging
import re
import uuid
from contextlib import suppress
from pathlib import Path

from service.data_dir import usable, write_whole

logger = logging.getLogger(__name__)

_FILE = "instance"
_NAME = re.compile(rb"[A-Za-z0-9_-]{1,64}")  # fits a client id, with `-pub` behind it


def instance_name(data_dir: Path) -> str:
    """Read the name, or make one where there is none or what is there is no name.

    Raises:
        ConfigurationError: The file cannot be read, or not be written.
        StoreFullError: The disk is full.
    """
    path = data_dir / _FILE
    with usable(f"data_dir: {path}"):
        with suppress(FileNotFoundError):
            content = path.read_bytes().strip()
            if _NAME.fullmatch(content):
                return content.decode("ascii")
            logger.warning("%s holds no name; the service gets a new one", path)
        name = f"moondream2mqtt-{uuid.uuid4().hex[:8]}"
        write_whole(path, name)
    return name
