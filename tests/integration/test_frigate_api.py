"""Frigate over HTTP, with answers as they should be and as they should not."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from service.errors import (
    FrigateAccessError,
    FrigateError,
    FrigateUnknownError,
    HostError,
)
from service.frigate.api import Account, FrigateApi, describes_itself, mqtt_prefix
from service.frigate_settings import FrigateSettings
from service.http.operator_http import OperatorHttp
from tests.support.factories import make_image
from tests.support.fakes import FakeClock
from tests.support.http_receivers import (
    Behaviour,
    answers,
    drips_body,
    in_turn,
    says_nothing,
    sends_endless_body,
    sends_endless_head,
)
from tests.support.scripted_frigate import EVENT, ScriptedFrigate

_MOST_IMAGE_BYTES = 100_000


@pytest.fixture
async def frigate() -> AsyncIterator[ScriptedFrigate]:
    frigate = ScriptedFrigate()
    async with frigate.receiver:
        yield frigate


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(datetime(2026, 1, 1, tzinfo=UTC))


def make_api(frigate: ScriptedFrigate, clock: FakeClock, **settings: Any) -> FrigateApi:
    settings = {"url": frigate.url, "timeout": 1.0, **settings}
    return FrigateApi(FrigateSettings(**settings), OperatorHttp(), _MOST_IMAGE_BYTES, clock, "1.2")


def with_login(frigate: ScriptedFrigate, clock: FakeClock, given: str = "pw") -> FrigateApi:
    return make_api(frigate, clock, username="moondream", password=given)


async def test_port_without_login_is_asked_without_one(
    frigate: ScriptedFrigate, clock: FakeClock
) -> None:
    api = make_api(frigate, clock)
    assert await api.version() == "0.17.2-test"
    assert await api.account() == Account("moondream", "admin")
    assert frigate.num_logins == 0
    assert frigate.receiver.requests[0].headers["user-agent"] == "moondream2mqtt/1.2"


async def test_login_is_made_once_for_all_that_ask(
    frigate: ScriptedFrigate, clock: FakeClock
) -> None:
    frigate.accepts = "pw"
    frigate.add()
    api = with_login(frigate, clock)
    await asyncio.gather(*(api.event(EVENT) for _ in range(5)))
    assert frigate.num_logins == 1


async def test_ended_session_is_one_new_login(frigate: ScriptedFrigate, clock: FakeClock) -> None:
    frigate.accepts = "pw"
    api = with_login(frigate, clock)
    await api.account()
    frigate.forget_tokens()
    await asyncio.gather(*(api.account() for _ in range(5)))
    assert frigate.num_logins == 2


async def test_renewed_session_is_used(frigate: ScriptedFrigate, clock: FakeClock) -> None:
    frigate.accepts = "pw"
    api = with_login(frigate, clock)
    await api.account()
    frigate.forget_tokens()
    frigate.instead["/api/version"] = answers(200, frigate.renew(), b"0.17.2")
    frigate.receiver.requests.clear()
    api_calls = [api.version(), api.account()]
    for call in api_calls:
        await call
    assert frigate.num_logins == 1


async def test_changed_password_is_said_and_logins_keep_a_distance(
    frigate: ScriptedFrigate, clock: FakeClock
) -> None:
    frigate.accepts = "pw"
    api = with_login(frigate, clock)
    await api.account()
    frigate.accepts = "other"
    frigate.forget_tokens()
    for _ in range(5):
        with pytest.raises(FrigateAccessError, match=r"frigate\.username with frigate\.password"):
            await api.account()
    assert frigate.num_logins == 2
    assert api.check().status == "degraded"
    clock.advance(11)
    frigate.accepts = "pw"
    await api.account()
    assert api.check().status == "healthy"


async def test_refused_session_right_after_the_login_is_an_error(
    frigate: ScriptedFrigate, clock: FakeClock
) -> None:
    frigate.accepts = "pw"
    frigate.instead["/api/profile"] = answers(401)
    with pytest.raises(FrigateAccessError, match="does not accept its own login"):
        await with_login(frigate, clock).account()
    assert frigate.num_logins == 2


async def test_account_where_frigate_has_no_logins_is_not_needed(
    frigate: ScriptedFrigate, clock: FakeClock
) -> None:
    api = with_login(frigate, clock)
    await api.account()
    await api.account()
    assert frigate.num_logins == 1


@pytest.mark.parametrize(
    "behave",
    [answers(401, body=b"no"), answers(429), answers(200, body=b"<html>"), answers(500)],
)
async def test_login_that_gives_no_session_is_an_access_error(
    frigate: ScriptedFrigate, clock: FakeClock, behave: Behaviour
) -> None:
    frigate.accepts = "pw"
    frigate.instead["/api/login"] = behave
    with pytest.raises(FrigateAccessError) as caught:
        await with_login(frigate, clock, "hunter2").account()
    assert "hunter2" not in str(caught.value)


async def test_missing_account_is_named(frigate: ScriptedFrigate, clock: FakeClock) -> None:
    frigate.accepts = "pw"
    with pytest.raises(FrigateAccessError, match=r"set frigate\.username"):
        await make_api(frigate, clock).account()


async def test_low_role_is_said_until_a_write_works(
    frigate: ScriptedFrigate, clock: FakeClock
) -> None:
    frigate.role = "viewer"
    frigate.add()
    api = make_api(frigate, clock)
    with pytest.raises(FrigateAccessError, match="takes the role admin"):
        await api.write_description(EVENT, "A person.")
    await api.event(EVENT)
    assert "takes the role admin" in api.check().message
    frigate.role = "admin"
    await api.write_description(EVENT, "A person.")
    assert api.check().status == "healthy"


async def test_what_is_written_is_read(frigate: ScriptedFrigate, clock: FakeClock) -> None:
    frigate.add()
    api = make_api(frigate, clock)
    await api.write_description(EVENT, "Ein Mädchen.\nZwei.")
    await api.write_sub_label(EVENT, "DHL", 0.93)
    event = await api.event(EVENT)
    assert event is not None
    assert event["data"]["description"] == "Ein Mädchen.\nZwei."
    assert (event["sub_label"], event["data"]["sub_label_score"]) == ("DHL", 0.93)
    assert [each["id"] for each in await api.events(after=0, limit=10)] == [EVENT]


async def test_event_id_cannot_leave_its_path(frigate: ScriptedFrigate, clock: FakeClock) -> None:
    assert await make_api(frigate, clock).event("../config?a") is None
    assert frigate.paths() == ["/api/events/..%2Fconfig%3Fa"]


def webp(size: int = 100) -> bytes:
    return b"RIFF\0\0\0\0WEBP" + b"a" * size


@pytest.mark.parametrize(
    ("pictures", "crop", "expected"),
    [
        ({"snapshot-clean.webp": webp(), "snapshot.jpg": make_image(1)}, False, webp()),
        ({"snapshot-clean.png": b"\x89PNG\r\n\x1a\n"}, False, b"\x89PNG\r\n\x1a\n"),
        ({"snapshot.jpg": make_image(1)}, False, make_image(1)),
        ({"snapshot-clean.webp": b"<html>", "snapshot.jpg": make_image(1)}, False, make_image(1)),
        (
            {"snapshot-clean.webp": webp(_MOST_IMAGE_BYTES), "snapshot.jpg": make_image(1)},
            False,
            make_image(1),
        ),
        ({"snapshot-clean.webp": webp(), "snapshot.jpg": make_image(1)}, True, make_image(1)),
        ({"snapshot-clean.webp": webp()}, True, webp()),
    ],
)
async def test_snapshot_is_the_cleanest_there_is(
    frigate: ScriptedFrigate,
    clock: FakeClock,
    pictures: dict[str, bytes],
    crop: bool,
    expected: bytes,
) -> None:
    frigate.pictures = {(EVENT, name): body for name, body in pictures.items()}
    assert await make_api(frigate, clock, crop=crop).snapshot(EVENT) == expected
    if "snapshot.jpg" in frigate.paths()[-1]:
        query = frigate.receiver.requests[-1].target.partition("?")[2]
        assert query == f"bbox=0&timestamp=0&quality=95&crop={int(crop)}"


async def test_snapshot_that_is_nowhere_is_unknown(
    frigate: ScriptedFrigate, clock: FakeClock
) -> None:
    with pytest.raises(FrigateUnknownError, match="are snapshots enabled there"):
        await make_api(frigate, clock).snapshot(EVENT)


async def test_snapshot_that_is_no_picture_is_said(
    frigate: ScriptedFrigate, clock: FakeClock
) -> None:
    frigate.pictures = {(EVENT, "snapshot.jpg"): b"<html>sorry</html>"}
    with pytest.raises(FrigateError, match=r"18 bytes as snapshot\.jpg that are no picture"):
        await make_api(frigate, clock).snapshot(EVENT)


@pytest.mark.parametrize(
    "behave",
    [
        answers(200, body=b"<html>Welcome</html>"),
        answers(200, body=b'["not an object"]'),
        answers(200, body=b"[" * 100_000),
        answers(200, body=b"{" + b"[]," * 200_001 + b"}"),
        answers(200, body=b"\xff\xfe"),
        answers(500, body=b"oh"),
        answers(302, "Location: http://127.0.0.1:1/\r\n"),
        answers(502),
        drips_body,
        says_nothing,
        sends_endless_body,
        sends_endless_head,
    ],
)
@pytest.mark.parametrize(
    "call",
    [lambda api: api.event(EVENT), lambda api: api.write_description(EVENT, "A person.")],
    ids=["read", "write"],
)
async def test_answer_that_is_none_of_frigates_is_an_error(
    frigate: ScriptedFrigate,
    clock: FakeClock,
    behave: Behaviour,
    call: Callable[[FrigateApi], Awaitable[object]],
) -> None:
    frigate.instead["/"] = behave
    api = make_api(frigate, clock, timeout=0.3)
    try:
        await call(api)
    except (FrigateError, HostError) as error:
        assert frigate.url in str(error)
    else:  # of a write only the status is looked at: it is read again anyway
        assert frigate.receiver.requests[0].method == "POST"


async def test_frigate_that_is_away_is_silent_and_heard_again(
    frigate: ScriptedFrigate, clock: FakeClock
) -> None:
    frigate.add()
    api = make_api(frigate, clock)
    frigate.instead["/"] = answers(502)
    with pytest.raises(HostError, match="502"):
        await api.event(EVENT)
    await frigate.receiver.stop()
    with pytest.raises(HostError, match="ConnectError"):
        await api.event(EVENT)
    assert api.check().status == "degraded"
    frigate.instead.clear()
    await frigate.receiver.start()
    await api.event(EVENT)
    assert api.check().status == "healthy"


async def test_config_is_kept_for_a_minute(frigate: ScriptedFrigate, clock: FakeClock) -> None:
    api = make_api(frigate, clock)
    assert not await api.describes_itself("front_door")
    frigate.genai = {"front_door"}
    assert not await api.describes_itself("front_door")
    clock.advance(61)
    assert await api.describes_itself("front_door")
    assert not await api.describes_itself("back")


@pytest.mark.parametrize(
    ("camera", "expected"),
    [
        ({"objects": {"genai": {"enabled": True}}}, True),
        ({"genai": {"enabled": True}}, True),
        ({"objects": {"genai": {"enabled": False}}}, False),
        ({"objects": []}, False),
        (None, False),
    ],
)
def test_describes_itself_reads_every_releases_configuration(camera: Any, expected: bool) -> None:
    assert describes_itself({"cameras": {"front": camera}}, "front") is expected


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"mqtt": {"enabled": True, "topic_prefix": "nvr"}}, "nvr"),
        ({"mqtt": {}}, "frigate"),
        ({"mqtt": {"enabled": False}}, None),
        ({"mqtt": {"topic_prefix": 7}}, None),
    ],
)
def test_mqtt_prefix_is_read(config: dict[str, Any], expected: str | None) -> None:
    assert mqtt_prefix(config) == expected


async def test_role_that_is_lost_and_found_again(
    frigate: ScriptedFrigate, clock: FakeClock
) -> None:
    frigate.add()
    frigate.instead["/api/events"] = in_turn(answers(403), answers(200, body=b"{}"))
    api = make_api(frigate, clock)
    with pytest.raises(FrigateAccessError, match="does not let the port without login see"):
        await api.event(EVENT)
    assert api.check().status == "degraded"
    await api.event(EVENT)
    assert api.check().status == "healthy"
