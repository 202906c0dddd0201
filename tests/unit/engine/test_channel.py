"""The child's end of the socket, in a process of its own: how it ends is what is tested."""

import socket
import subprocess
import sys

import pytest

from engine import protocol

_CHILD = """
import logging, sys, threading
from engine.channel import Channel
logging.basicConfig(format="%(levelname)s %(message)s")
Channel(int(sys.argv[1])).listen(lambda message: print(type(message).__name__, flush=True))
threading.Event().wait()
"""
CANCEL = protocol.encode(protocol.Cancel("job"))


def ending_of(sent: bytes) -> tuple[int, str, str]:
    """Exit code and output of a child that is sent this before its service is gone."""
    ours, theirs = socket.socketpair()
    with theirs:
        child = subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    with ours:
        ours.sendall(sent)
    out, errors = child.communicate(timeout=20)
    return child.returncode, out, errors


@pytest.mark.parametrize("sent", [b"", CANCEL[:3], CANCEL[:-1]], ids=["idle", "early", "late"])
def test_service_that_goes_away_ends_the_child_in_silence(sent: bytes) -> None:
    assert ending_of(CANCEL + sent) == (0, "Cancel\n", "")


@pytest.mark.parametrize("sent", [b"\xff" * 8, CANCEL.replace(b"key", b"kay")])
def test_message_that_is_none_ends_the_child_and_is_said(sent: bytes) -> None:
    code, out, errors = ending_of(CANCEL + sent)
    assert (code, out) == (6, "Cancel\n")
    assert errors.startswith("ERROR what the service sent is no message: ")
    assert errors.count("\n") == 1
