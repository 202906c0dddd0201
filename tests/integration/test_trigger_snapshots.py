"""Pictures from real servers that behave as cameras do."""

import asyncio
import base64
import time
from typing import Any

import pytest

from engine.images import ImageLimits
from service.errors import FrameError
from service.trigger_settings import TriggerSettings
from service.triggers.snapshots import SUSPENDED_S, Snapshots, SuspendedError
from tests.support.cameras_over_http import DigestCamera, shows
from tests.support.certificates import Certificate
from tests.support.factories import NOON, make_image
from tests.support.fakes import FakeClock
from tests.support.http_receivers import (
    Behaviour,
    Receiver,
    answers,
    drips_body,
    drips_head,
    in_turn,
    says_nothing,
    sends_endless_body,
    sends_endless_head,
)

PICTURE = make_image()
DIGEST = {"type": "digest", "username": "me", "password": "s3cret"}
REOLINK = b'[{"cmd":"Snap","code":1,"error":{"detail":"login failed","rspCode":-7}}]'


def snapshots(*urls: str, clock: FakeClock | None = None, **fields: Any) -> Snapshots:
    """One trigger for each URL."""
    base = {"topic": "cam/{camera}/motion", "timeout": 1.0, **fields}
    triggers = [TriggerSettings.model_validate({**base, "url": url}) for url in urls]
    limits = ImageLimits(max_bytes=100_000)
    return Snapshots(triggers, limits, clock or FakeClock(NOON), "1.2.3")


async def test_fetch_camera_name_stands_in_the_url() -> None:
    async with Receiver(shows(PICTURE)) as camera:
        url = f"{camera.url}/{{camera}}?src={{camera}}&h=720"
        assert await snapshots(url).fetch(0, "front-door_2") == PICTURE
        [request] = camera.requests
        assert request.target == "/hook/front-door_2?src=front-door_2&h=720"
        assert request.headers["user-agent"] == "moondream2mqtt/1.2.3"


async def test_fetch_foreign_name_is_one_element_and_one_value() -> None:
    async with Receiver(shows(PICTURE)) as camera:
        url = f"{camera.url}/{{camera}}?src={{camera}}&h=720"
        assert await snapshots(url).fetch(0, "a_b", "Tür #1?&x=%2e") == PICTURE
        name = "T%C3%BCr%20%231%3F%26x%3D%252e"
        assert camera.requests[0].target == f"/hook/{name}?src={name}&h=720"


@pytest.mark.parametrize(
    "name", [".", "..", "../admin", "..\\admin", "a\r\nb", "\0", "\ud800", "x" * 257]
)
async def test_fetch_name_that_would_leave_its_place_is_not_asked_for(name: str) -> None:
    async with Receiver(shows(PICTURE)) as camera:
        with pytest.raises(FrameError, match="no part of an address") as caught:
            await snapshots(f"{camera.url}/{{camera}}/jpg").fetch(0, "a_b", name)
        assert caught.value.code == "fetch_failed"
        assert await snapshots(camera.url).fetch(0, "a_b", name) == PICTURE
        assert len(camera.requests) == 1


async def test_fetch_name_with_a_slash_is_a_value_of_the_query() -> None:
    async with Receiver(shows(PICTURE)) as camera:
        assert await snapshots(f"{camera.url}?src={{camera}}").fetch(0, "a_b", "yard/1") == PICTURE
        assert camera.requests[0].target == "/hook?src=yard%2F1"


@pytest.mark.parametrize(
    ("fields", "name", "expected"),
    [
        (
            {"auth": {**DIGEST, "type": "basic"}},
            "authorization",
            "Basic " + base64.b64encode(b"me:s3cret").decode(),
        ),
        ({"auth": {"type": "bearer", "token": "s3cret"}}, "authorization", "Bearer s3cret"),
        ({"headers": {"X-API-Key": "s3cret"}}, "x-api-key", "s3cret"),
    ],
)
async def test_fetch_access_is_sent(fields: dict[str, Any], name: str, expected: str) -> None:
    async with Receiver(shows(PICTURE)) as camera:
        await snapshots(camera.url, **fields).fetch(0, "front")
        assert camera.requests[0].headers[name] == expected


async def test_fetch_digest_is_negotiated_once_then_each_picture_is_one_request() -> None:
    asks = DigestCamera(PICTURE, "me", "s3cret", requests_per_nonce=4)
    async with Receiver(asks) as camera:
        found = snapshots(f"{camera.url}?channel=1", auth=DIGEST)
        for _ in range(4):
            assert await found.fetch(0, "front") == PICTURE
        assert (len(camera.requests), asks.num_unauthorized) == (5, 1)
        assert await found.fetch(0, "front") == PICTURE  # with a new nonce
        assert (len(camera.requests), asks.num_bad_logins) == (7, 0)


@pytest.mark.parametrize(
    "challenge",
    [
        'realm="a", nonce="b", algorithm=SHA-512-256',
        'realm="a", nonce="b", qop="auth-int"',
        'realm="a", nonce="b", qop="odd"',
        "realm",
    ],
)
async def test_fetch_digest_that_cannot_be_answered_is_told_and_asked_for_anew(
    challenge: str,
) -> None:
    cannot = answers(401, f"WWW-Authenticate: Digest {challenge}\r\n", b"")
    async with Receiver(cannot) as camera:
        found = snapshots(camera.url, auth=DIGEST)
        with pytest.raises(FrameError, match="login") as caught:
            await found.fetch(0, "front")
        assert not isinstance(caught.value, SuspendedError)
        camera.behave = DigestCamera(PICTURE, "me", "s3cret")
        assert await found.fetch(0, "front") == PICTURE


@pytest.mark.parametrize("kind", ["digest", "basic", "reolink"])
async def test_fetch_refused_account_is_left_alone_for_a_quarter_of_an_hour(kind: str) -> None:
    clock = FakeClock(NOON)
    behave: dict[str, Behaviour] = {
        "digest": DigestCamera(PICTURE, "me", "another"),
        "basic": answers(401, 'WWW-Authenticate: Basic realm="cam"\r\n'),
        "reolink": answers(200, body=REOLINK),
    }
    auth = None if kind == "reolink" else {**DIGEST, "type": kind}
    async with Receiver(behave[kind]) as camera:
        url = f"{camera.url}?user=me&password=s3cret"
        found = snapshots(url, f"{url}&second", clock=clock, auth=auth)
        with pytest.raises(SuspendedError):
            await found.fetch(0, "front")
        num_asked = len(camera.requests)
        for number in (0, 1, 0):  # another trigger has the same account
            with pytest.raises(SuspendedError, match="for another 15 min") as refused:
                await found.fetch(number, "front")
            assert "s3cret" not in str(refused.value)
        clock.advance(SUSPENDED_S - 1)
        with pytest.raises(SuspendedError):
            await found.fetch(0, "front")
        assert len(camera.requests) == num_asked
        clock.advance(2)
        camera.behave = shows(PICTURE)
        assert await found.fetch(0, "front") == PICTURE


async def test_fetch_many_cameras_of_a_recorder_cost_one_bad_login() -> None:
    clock = FakeClock(NOON)
    async with Receiver(answers(401)) as recorder:
        url = f"{recorder.url}?channel={{camera}}"
        found = snapshots(url, clock=clock, auth=DIGEST)

        async def fetch_all() -> list[BaseException | bytes]:
            names = [f"camera-{number}" for number in range(20)]
            fetching = [found.fetch(0, name) for name in names]
            return await asyncio.gather(*fetching, return_exceptions=True)

        assert all(isinstance(each, FrameError) for each in await fetch_all())
        assert len(recorder.requests) == 1
        clock.advance(SUSPENDED_S)
        recorder.behave = shows(PICTURE)
        assert await fetch_all() == [PICTURE] * 20
        assert recorder.most_at_once == 4
        recorder.behave = answers(401)
        before = len(recorder.requests)
        assert all(isinstance(each, FrameError) for each in await fetch_all())
        assert len(recorder.requests) - before <= 4


async def test_fetch_refused_account_is_no_other_accounts_matter() -> None:
    behave = in_turn(answers(403), shows(PICTURE))
    async with Receiver(behave) as camera:
        found = snapshots(f"{camera.url}?user=me", f"{camera.url}?user=you")
        with pytest.raises(SuspendedError):
            await found.fetch(0, "front")
        assert await found.fetch(1, "front") == PICTURE


@pytest.mark.parametrize(
    ("behave", "reason"),
    [
        (answers(200, body=b""), "without a picture"),
        (answers(200, body=b"<html>"), "web page"),
        (answers(302, "Location: /login?t=s3cret\r\n"), "redirects are not followed"),
        (answers(200, body=b"x" * 100_001), "more than 100000 bytes"),
        (answers(200, "Content-Encoding: gzip\r\n", b"x"), "compressed"),
        (drips_head, "did not answer within 1 s"),
        (drips_body, "did not answer within 1 s"),
        (says_nothing, "did not answer within 1 s"),
        (sends_endless_body, "more than 100000 bytes"),
        (sends_endless_head, "headers are too long"),
    ],
)
async def test_fetch_camera_that_sends_no_picture_is_left_in_time(
    behave: Behaviour, reason: str
) -> None:
    async with Receiver() as elsewhere, Receiver(behave) as camera:
        started = time.monotonic()
        with pytest.raises(FrameError, match=reason) as caught:
            await snapshots(f"{camera.url}?password=s3cret").fetch(0, "front")
        assert time.monotonic() - started < 3.0
        assert caught.value.code == "fetch_failed"
        assert "s3cret" not in str(caught.value)
        assert elsewhere.num_connections == 0


async def test_fetch_camera_that_is_off_fails() -> None:
    async with Receiver() as camera:
        await camera.stop()
        with pytest.raises(FrameError, match="Connect"):
            await snapshots(camera.url).fetch(0, "front")


async def test_fetch_asks_each_camera_once_at_a_time_and_others_meanwhile() -> None:
    async def takes_time(_: object, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.1)
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(PICTURE)}\r\n\r\n"
        writer.write(head.encode() + PICTURE)

    async with Receiver(takes_time) as one, Receiver(takes_time) as other:
        found = snapshots(one.url, other.url)
        wanted = [(0, "front"), (0, "front"), (0, "front"), (1, "back"), (1, "back")]
        await asyncio.gather(*(found.fetch(*each) for each in wanted))
        assert (one.most_at_once, other.most_at_once) == (1, 1)
        assert (len(one.requests), len(other.requests)) == (3, 2)


async def test_fetch_host_that_never_answers_leaves_the_others_room() -> None:
    async with Receiver(says_nothing) as dead, Receiver(shows(PICTURE)) as camera:
        found = snapshots(f"{dead.url}?src={{camera}}", camera.url, timeout=5.0)
        invented = [asyncio.create_task(found.fetch(0, f"camera-{i}")) for i in range(100)]
        await dead.wait_for(8)
        async with asyncio.timeout(2):
            assert await found.fetch(1, "front") == PICTURE
        for each in invented:
            each.cancel()
        await asyncio.wait(invented)
        assert dead.most_at_once == 8


async def test_fetch_trusts_the_named_authority_or_any(https_certificate: Certificate) -> None:
    async with Receiver(shows(PICTURE), ssl_context=https_certificate.server) as camera:
        url = camera.url.replace("http://127.0.0.1", "https://localhost")
        with pytest.raises(FrameError, match=r"CERTIFICATE_VERIFY_FAILED|certificate"):
            await snapshots(url).fetch(0, "front")
        assert await snapshots(url, insecure=True).fetch(0, "front") == PICTURE
