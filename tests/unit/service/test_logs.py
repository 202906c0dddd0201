import json
import logging
import warnings
from collections.abc import Iterator

import pytest

from service.logs import BridgeLog, Throttle, configure, escape
from tests.support.factories import NOON
from tests.support.fakes import FakeClock


@pytest.fixture(autouse=True)
def _keep_root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    logging.captureWarnings(False)
    logging.getLogger("py.warnings").propagate = True


def test_escape_keeps_a_hostile_name_on_one_line() -> None:
    assert escape("front\n2026 ERROR all is lost\x1b[2J") == (
        "front\\x0a2026 ERROR all is lost\\x1b[2J"
    )


def test_escape_lets_no_text_turn_the_direction_of_a_line() -> None:
    assert escape("front \u202edeliaf\u2066 باب") == "front \\x202edeliaf\\x2066 باب"


def test_escape_leaves_nothing_that_cannot_be_encoded() -> None:
    assert escape("caf\udce9").encode() == b"caf\\xdce9"


def test_text_log_writes_one_line_per_event(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info", "text")
    logging.getLogger("service.test").info("%s completed", "job\n1")
    assert capsys.readouterr().err.rstrip("\n").endswith("service.test: job\\x0a1 completed")


def test_json_log_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info", "json")
    logging.getLogger("service.test").warning("careful", extra={"action": "test"})
    content = json.loads(capsys.readouterr().err)
    assert (content["level"], content["message"], content["action"]) == (
        "warning",
        "careful",
        "test",
    )


def test_http_libraries_do_not_log_urls(capsys: pytest.CaptureFixture[str]) -> None:
    configure("debug", "text")
    logging.getLogger("httpx").info("POST https://me:secret@host/")
    assert "secret" not in capsys.readouterr().err


def test_two_connections_that_say_the_same_are_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure("info", "text")
    for name, text in [
        ("broker.network", "no connection: refused"),
        ("broker.network", "no connection: refused"),
        ("broker.network", "no connection: not authorized"),
        ("broker.connection", "connected"),
        ("service.delivery.end_log", "front normal 0.30 s: A cat"),
        ("service.delivery.end_log", "front normal 0.30 s: A cat"),
        ("broker.connection", "connected"),
    ]:
        logging.getLogger(name).info(text)
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[2] for line in lines] == [
        "no connection: refused",
        "no connection: not authorized",
        "connected",
        *["front normal 0.30 s: A cat"] * 2,
    ]


@pytest.mark.filterwarnings("default")
def test_warnings_for_programmers_are_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info", "text")
    warnings.warn("this will change", FutureWarning, stacklevel=1)
    assert capsys.readouterr().err == ""


def test_bridge_log_keeps_warnings_until_taken() -> None:
    bridge_log = BridgeLog(FakeClock(NOON))
    log = logging.Logger("service.test")
    log.addHandler(bridge_log)
    log.info("not this")
    log.warning("this", extra={"action": "store_failed"})
    [document] = bridge_log.take()
    assert (document.level, document.code, document.message) == ("warning", "store_failed", "this")
    assert bridge_log.take() == []


def test_throttle_allows_each_subject_once_in_a_while() -> None:
    throttle = Throttle()
    assert [throttle.allows("front", now) for now in (0.0, 1.0, 599.0, 600.0)] == [
        True,
        False,
        False,
        True,
    ]
    assert throttle.allows("back", 1.0)


def test_throttle_is_bounded_for_whoever_invents_subjects() -> None:
    throttle = Throttle()
    assert (
        sum(throttle.allows(f"camera-{number}", float(number) / 10) for number in range(500)) == 20
    )


@pytest.mark.parametrize("message", ["\udcff", "\ud800 %s", "\0\n"])
def test_bridge_log_hostile_text_is_published_or_left_out(message: str) -> None:
    bridge_log = BridgeLog(FakeClock(NOON))
    log = logging.Logger("service.test")
    log.addHandler(bridge_log)
    log.warning(message, message, extra={"action": message})
    log.warning("the next")
    for document in bridge_log.take():
        document.model_dump_json()
    assert document.message == "the next"


def test_bridge_log_a_record_that_cannot_be_read_hurts_nobody(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bridge_log = BridgeLog(FakeClock(NOON))
    log = logging.Logger("service.test")
    log.addHandler(bridge_log)
    log.warning("%d", "no number")
    log.warning("the next")
    assert [document.message for document in bridge_log.take()] == ["the next"]
    assert "no number" in capsys.readouterr().err  # as logging tells of mistakes


def test_unexpected_error_shows_for_ten_minutes() -> None:
    clock = FakeClock(NOON)
    bridge_log = BridgeLog(clock)
    log = logging.Logger("service.test")
    log.addHandler(bridge_log)
    log.error("foreseen")
    assert bridge_log.check().status == "healthy"
    try:
        raise RuntimeError("s3cret")
    except RuntimeError:
        log.exception("one frame")
    check = bridge_log.check()
    assert (check.status, check.message) == (
        "degraded",
        "unexpected errors: 1 in 10 min, the last: one frame",
    )
    clock.advance(601)
    assert bridge_log.check().status == "healthy"
