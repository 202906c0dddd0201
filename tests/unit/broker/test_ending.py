import socket
import ssl
from typing import Any

import pytest

from broker.ending import Course, Reason, not_reached, refused
from broker.options import ConnectionOptions
from broker.reconnect import End

OPTIONS = ConnectionOptions(host="broker.lan", client_id="me", username="us")


def ended(course: Course, problem: str | None = None, **fields: Any) -> End:
    values = {"is_busy": False, "is_alone": False, "is_gate_open": True, **fields}
    return course.end(problem, 107.0, **values)


def test_connection_that_was_never_accepted_is_silent() -> None:
    end = ended(Course())
    assert (end.is_silent, end.lasted_s) == (True, None)
    assert "without an answer" in end.reason


def test_connection_that_was_closed_lasted_since_it_was_accepted() -> None:
    end = ended(Course(connected_at=100.0), is_busy=True)
    assert (end.lasted_s, end.is_closed, end.is_busy, end.is_denied) == (7.0, True, True, False)
    assert end.reason == "the connection was lost"


@pytest.mark.parametrize(
    ("course", "expected"),
    [
        (Course(100.0, disconnect=Reason(142, "Session taken over")), {"is_taken_over": True}),
        (Course(100.0, disconnect=Reason(139, "Server shutting down")), {"is_closed": False}),
        (Course(100.0, was_reset=True), {"is_closed": False}),
        (Course(100.0, was_denied=True), {"is_denied": True}),
        (Course(100.0, was_useful=True), {"is_useful": True}),
    ],
)
def test_what_happened_shows_in_the_end(course: Course, expected: dict[str, bool]) -> None:
    end = ended(course)
    assert {name: getattr(end, name) for name in expected} == expected


def test_connection_that_we_ended_says_why() -> None:
    course = Course(connected_at=100.0)
    end = ended(course, "the service is stopping")
    assert (end.reason, end.is_denied) == ("the service is stopping", True)
    assert course.was_ours


def test_loss_while_nothing_more_could_be_received_says_so() -> None:
    assert "waits to be committed" in ended(Course(100.0), is_gate_open=False).reason


def test_refused_credentials_name_the_settings() -> None:
    end = refused(Reason(135, "Not authorized"), OPTIONS)
    assert "mqtt.username 'us'" in end.reason
    assert not end.is_unsupported


def test_refused_version_is_unsupported() -> None:
    assert refused(Reason(132, "Unsupported protocol version"), OPTIONS).is_unsupported


@pytest.mark.parametrize(
    ("error", "setting"),
    [
        (socket.gaierror(-2, "Name or service not known"), "mqtt.host"),
        (TimeoutError(), "mqtt.port"),
        (ConnectionRefusedError(111, "Connection refused"), "mqtt.port"),
        (ssl.SSLError(1, "wrong version number"), "mqtt.tls"),
    ],
)
def test_broker_that_cannot_be_reached_names_the_setting(error: OSError, setting: str) -> None:
    assert setting in not_reached(error, OPTIONS).reason
