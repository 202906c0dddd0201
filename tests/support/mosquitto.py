"""The Mosquitto that is installed, or a skip that says how to install it."""

import os
import shutil

import pytest

from broker.embedded import BrokerProgram, find_program
from broker.errors import EmbeddedBrokerError

#: The same words as those of `make setup`.
MISSING = "Mosquitto is missing: sudo apt-get install mosquitto mosquitto-clients"


def mosquitto_or_skip(path: str | None = None) -> BrokerProgram:
    """Mosquitto as something to start.

    Args:
        path: Folders to look in; None for PATH and the folders of daemons.
    """
    try:
        program = find_program(path)
    except EmbeddedBrokerError:
        pytest.skip(MISSING)
    if program.kind != "mosquitto":
        pytest.skip(MISSING)
    return program


def mosquitto_passwd_or_skip(path: str | None = None) -> str:
    """The path of the program that makes accounts.

    Args:
        path: Folders to look in; None for PATH.
    """
    found = shutil.which("mosquitto_passwd", path=path or os.environ.get("PATH"))
    return found or pytest.skip(MISSING)
