"""News of releases, from servers that answer all kinds of things."""

import asyncio
import json
from typing import Any

import pytest
from pydantic import BaseModel

from schemas.status import UpdateStatus
from service.errors import UrlRefusedError
from service.homeassistant.updates import UpdateCheck, UpdateError
from service.http.urls import GuardedHttp
from tests.support.checker import until
from tests.support.http_receivers import Receiver, answers, in_turn, sends_endless_body

LINK = "https://example.org/notes"


class Announcer:
    """Keeps what is published."""

    def __init__(self) -> None:
        self.said: list[BaseModel] = []

    def announce(self, document: BaseModel) -> bool:
        self.said.append(document)
        return True


def check(url: str, announcer: Announcer | None = None) -> UpdateCheck:
    return UpdateCheck(url, "1.2.3", GuardedHttp(), announcer or Announcer())


@pytest.mark.parametrize(
    ("document", "version", "link"),
    [
        ({"version": "1.3.0"}, "1.3.0", ""),
        ({"tag_name": "v2.0.0-rc.1", "html_url": LINK}, "2.0.0-rc.1", LINK),
        ({"info": {"version": "3.0", "release_url": LINK}}, "3.0", LINK),
        ({"version": "1.3.0", "html_url": "javascript:alert(1)"}, "1.3.0", ""),
        ({"version": ["1.3.0"], "tag_name": "v1.4.0", "info": 5, "html_url": {}}, "1.4.0", ""),
    ],
)
async def test_version_is_read_wherever_it_stands(
    document: dict[str, Any], version: str, link: str
) -> None:
    async with Receiver(answers(200, body=json.dumps(document).encode())) as server:
        assert await check(server.url).ask() == UpdateStatus(
            installed_version="1.2.3", latest_version=version, release_url=link
        )
        [request] = server.requests
        assert request.headers["user-agent"] == "moondream2mqtt/1.2.3"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"null",
        b"\xff",
        b"[" * 60_000,
        b'{"version": null}',
        b'{"version": "newest"}',
        b'{"version": "1.0 <b>"}',
        b'{"version": "' + b"1" * 100 + b'"}',
        b'{"info": {"version": 5}}',
        b'{"version": "1.0", "padding": "' + b"x" * 1_100_000 + b'"}',
    ],
)
async def test_answer_that_names_no_version_is_an_error(body: bytes) -> None:
    async with Receiver(answers(200, body=body)) as server:
        with pytest.raises(UpdateError):
            await check(server.url).ask()


@pytest.mark.parametrize("behave", [answers(404), answers(301), sends_endless_body])
async def test_server_that_does_not_answer_as_it_should_is_an_error(behave: Any) -> None:
    async with Receiver(behave) as server:
        with pytest.raises(UpdateError):
            await check(server.url).ask()


async def test_address_that_may_not_be_reached_is_refused() -> None:
    with pytest.raises(UrlRefusedError):
        await check("http://169.254.169.254/latest").ask()


async def test_failure_is_one_warning_and_publishes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    announcer = Announcer()
    async with Receiver(answers(500)) as server:
        task = asyncio.create_task(check(server.url, announcer).run())
        async with asyncio.timeout(20):
            while not caplog.records:  # noqa: ASYNC110 - polls the log
                await asyncio.sleep(0.01)
        assert not task.done()
        task.cancel()
        assert len(server.requests) == 1
    assert [each.levelname for each in caplog.records] == ["WARNING"]
    assert announcer.said == []


async def test_failure_is_mended_within_the_hour(caplog: pytest.LogCaptureFixture) -> None:
    announcer = Announcer()
    releases = {f"1.{minor}.0": [{"url": LINK * 40}] for minor in range(100)}
    found = {"info": {"version": "2.0"}, "releases": releases}  # 100 KB, as PyPI's
    later = answers(200, body=json.dumps(found).encode())
    async with Receiver(in_turn(answers(500), answers(500), later)) as server:
        asking = UpdateCheck(server.url, "1.2.3", GuardedHttp(), announcer, retry_s=0.01)
        task = asyncio.create_task(asking.run())
        await until(lambda: bool(announcer.said))
        task.cancel()
    assert len(caplog.records) == 1
