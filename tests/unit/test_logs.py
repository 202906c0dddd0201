import json
import logging
from collections.abc import Iterator

import pytest

from service.logs import BridgeLog, configure, escape


@pytest.fixture(autouse=True)
def _keep_root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level


def test_escape_keeps_a_hostile_name_on_one_line() -> None:
    assert escape("front\n2026 ERROR all is lost\x1b[2J") == (
        "front\\x0a2026 ERROR all is lost\\x1b[2J"
    )


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


def test_bridge_log_keeps_warnings_until_taken() -> None:
    bridge_log = BridgeLog()
    log = logging.Logger("service.test")
    log.addHandler(bridge_log)
    log.info("not this")
    log.warning("this", extra={"action": "store_failed"})
    [document] = bridge_log.take()
    assert (document.level, document.code, document.message) == ("warning", "store_failed", "this")
    assert bridge_log.take() == []
