"""The token of HTTP: a setting, or made once and kept beside the database."""

import logging
import re
import secrets
from contextlib import suppress
from pathlib import Path

from service.data_dir import usable, write_whole
from service.settings import Settings

logger = logging.getLogger(__name__)

_FILE = "http-token"
_TOKEN = re.compile(rb"[!-~]{16,256}")


def token_file(data_dir: Path) -> Path:
    """Where it is kept."""
    return data_dir / _FILE


def token_of(settings: Settings) -> tuple[str, bool]:
    """The token, and whether it was made just now.

    Raises:
        ConfigurationError: The file cannot be read, or not be written.
        StoreFullError: The disk is full.
    """
    if settings.http.token is not None:
        return settings.http.token.get_secret_value(), False
    path = token_file(settings.data_dir)
    with usable(f"data_dir: {path}"), suppress(FileNotFoundError):
        content = path.read_bytes().strip()
        if _TOKEN.fullmatch(content):
            return content.decode("ascii"), False
        logger.warning("%s holds no token; a new one is made", path)
    return make_token(settings.data_dir), True


def make_token(data_dir: Path) -> str:
    """Make a new one, in place of the old.

    Raises:
        ConfigurationError, StoreFullError: As above.
    """
    path, token = token_file(data_dir), secrets.token_urlsafe(32)
    with usable(f"data_dir: {path}"):
        write_whole(path, token)
    return token
