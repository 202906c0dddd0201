"""Frigate's real logins, sessions, roles and pictures."""

import asyncio
import time
from itertools import count

import pytest

from engine.images import inspect
from service.clock import Clock
from service.errors import FrigateAccessError, FrigateUnknownError
from service.frigate.api import FrigateApi
from service.frigate_settings import FrigateSettings
from service.http.operator_http import OperatorHttp
from tests.frigate.real_frigate import PASSWORD, RealFrigate

_NUMBERS = count(1)


def new_id() -> str:
    return f"{time.time() - 10:.6f}-abc{next(_NUMBERS):03d}"


def make_api(frigate: RealFrigate, user: str | None = None, key: str = PASSWORD) -> FrigateApi:
    settings = FrigateSettings(url=frigate.open_url)
    if user is not None:
        settings = FrigateSettings(url=frigate.login_url, username=user, password=key)
    return FrigateApi(settings, OperatorHttp(), 4 << 20, Clock(), "1.2")


def stored(frigate: RealFrigate, *, ended: bool = True) -> str:
    event_id = new_id()
    frigate.hears(event_id, "new")
    frigate.hears(event_id, "update")
    if ended:
        frigate.hears(event_id, "end")
    return event_id


async def test_account_is_told(frigate: RealFrigate) -> None:
    assert (await make_api(frigate).account()).role == "admin"
    assert (await make_api(frigate, "admin").account()).role == "admin"
    assert (await make_api(frigate, "viewer").account()).role == "viewer"
    assert await make_api(frigate, "viewer").version()


async def test_wrong_password_is_said(frigate: RealFrigate) -> None:
    with pytest.raises(FrigateAccessError, match=r"frigate\.password"):
        await make_api(frigate, "admin", "wrong").account()


async def test_port_with_login_asks_for_an_account(frigate: RealFrigate) -> None:
    settings = FrigateSettings(url=frigate.login_url)
    api = FrigateApi(settings, OperatorHttp(), 4 << 20, Clock(), "1.2")
    with pytest.raises(FrigateAccessError, match=r"set frigate\.username"):
        await api.account()


async def test_session_is_renewed_by_its_use(frigate: RealFrigate) -> None:
    api = make_api(frigate, "admin")
    await api.account()
    first = api._session._cookie
    await asyncio.sleep(1.1)  # its end is told in whole seconds
    await api.account()
    second = api._session._cookie
    assert first is not None
    assert first != second
    assert (await api.account()).name == "admin"


async def test_sessions_that_frigate_has_forgotten_are_one_new_login(frigate: RealFrigate) -> None:
    api = make_api(frigate, "admin")
    event_id = stored(frigate)
    await api.account()
    frigate.stop()
    frigate.forget_sessions()
    frigate.start()
    await api.write_description(event_id, "After the restart.")
    assert frigate.event(event_id)["data"]["description"] == "After the restart."


async def test_viewer_reads_and_may_not_write(frigate: RealFrigate) -> None:
    event_id = stored(frigate)
    api = make_api(frigate, "viewer")
    event = await api.event(event_id)
    assert event is not None
    assert not await api.describes_itself("front_door")
    with pytest.raises(FrigateAccessError, match="takes the role admin"):
        await api.write_description(event_id, "No.")
    assert api.check().status == "degraded"
    assert frigate.event(event_id)["data"].get("description") is None


async def test_object_that_is_not_stored_is_none(frigate: RealFrigate) -> None:
    api = make_api(frigate)
    assert await api.event(new_id()) is None
    with pytest.raises(FrigateUnknownError):
        await api.write_description(new_id(), "No.")


@pytest.mark.parametrize("crop", [False, True])
async def test_snapshot_of_an_object_that_has_gone(frigate: RealFrigate, crop: bool) -> None:
    event_id = stored(frigate)
    header = inspect(await make_api(frigate).snapshot(event_id, crop=crop))
    if not crop:
        assert (header.width, header.height) == (1280, 720)
        assert header.format == ("PNG" if frigate.release.startswith("0.16") else "WEBP")


async def test_objects_are_listed(frigate: RealFrigate) -> None:
    event_id = stored(frigate)
    found = await make_api(frigate, "viewer").events(after=time.time() - 3600, limit=100)
    assert event_id in {each["id"] for each in found}


async def test_camera_with_frigates_own_descriptions_is_known(frigate: RealFrigate) -> None:
    api = make_api(frigate)
    assert await api.describes_itself("described_by_frigate")
    assert not await api.describes_itself("front_door")
