"""A notification per visit, in a real Home Assistant: what the phone shows, and what is heard."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from tests.homeassistant.home import NOTIFY, PATIENCE_S, PHONE, TABLET, Home, sounds, tags

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]


@pytest_asyncio.fixture(autouse=True, loop_scope="session")
async def silence(home: Home) -> AsyncIterator[None]:
    """A test fails in which Home Assistant's integrations complain about anything."""
    yield
    await home.has_not_complained()


async def test_a_visit_is_one_notification_that_changes(home: Home) -> None:
    await home.use(NOTIFY, cameras=[home.front], notifiers=[TABLET], visit_gap=3, open="/cameras")
    job_id = home.service.caption("front_door", "A car stops.")
    shown = await home.messages("A car stops.")
    for text in ("A man gets out.", "A man rings."):
        await asyncio.sleep(2)  # together longer than the gap, which begins anew each time
        home.service.caption("front_door", text)
        shown += await home.messages(text)
    assert tags(shown) == [f"moondream2mqtt_{job_id}"] * 3
    assert sounds(shown) == [True, False, False]
    assert {each["title"] for each in shown} == {"Front door"}
    assert {each["data"]["image"] for each in shown} == {home.picture}
    assert {each["data"]["url"] for each in shown} == {"/cameras"}
    await asyncio.sleep(3.5)
    home.service.caption("front_door", "A cat sits there.")
    shown += await home.messages("A cat sits there.")
    assert len(set(tags(shown))) == 2
    assert sounds(shown) == [True, False, False, True]


async def test_captions_of_one_moment_are_all_one_visit(home: Home) -> None:
    """While a notification is on its way the newest caption takes the place of others."""
    await home.use(NOTIFY, cameras=[home.front], notifiers=[TABLET], visit_gap=2)
    for number in range(20):
        home.service.caption("front_door", f"A man {number}.")
    shown: list[dict[str, Any]] = []
    async with asyncio.timeout(PATIENCE_S):
        while not shown or shown[-1]["message"] != "A man 19.":
            shown += [call["data"] for call in await home.core.calls()]
    assert len(set(tags(shown))) == 1
    assert sounds(shown) == [True, *[False] * (len(shown) - 1)]


async def test_cameras_have_visits_of_their_own(home: Home) -> None:
    await home.use(NOTIFY, cameras=[home.front, home.garden], notifiers=[TABLET])
    shown = []
    for camera_id, text in [("front_door", "A."), ("garden", "B."), ("front_door", "C.")]:
        home.service.caption(camera_id, text)
        shown += await home.messages(text)
    assert [each["title"] for each in shown] == ["Front door", "Garden", "Front door"]
    assert tags(shown)[0] == tags(shown)[2] != tags(shown)[1]
    assert sounds(shown) == [True, True, False]


async def test_phones_are_found_by_their_device(home: Home) -> None:
    [phone] = [each for each in await home.core.devices() if each["identifiers"] == ["phone"]]
    await home.use(NOTIFY, cameras=[home.front], phones=[phone["id"], "gone"], notifiers=[TABLET])
    home.service.caption("front_door", "A man.")
    assert [call["action"] for call in await home.calls(2)] == [PHONE, TABLET]


async def test_captions_that_do_not_match_are_left_out(home: Home) -> None:
    await home.use(
        NOTIFY,
        cameras=[home.front],
        notifiers=[TABLET],
        min_priority="normal",
        words=["person", "Straße", "", "delivery van"],
        words_not=["cat"],
        max_age=10,
    )
    long_ago = datetime.now(UTC) - timedelta(minutes=11)
    home.service.caption("front_door", "A person.", priority="low")
    home.service.caption("front_door", "A personal computer.")
    home.service.caption("front_door", "A person with a cat.")
    home.service.caption("front_door", "A person.", taken_at=long_ago)
    home.service.caption("front_door", "A delivery\nVAN.")
    await home.messages("A delivery\nVAN.")
    home.service.caption("front_door", "Nobody.")
    home.service.caption("front_door", "Auf der STRASSE; auf der Straße!")
    await home.messages("Auf der STRASSE; auf der Straße!")


async def test_what_a_restart_brings_back_is_not_told_again(home: Home) -> None:
    await home.use(NOTIFY, cameras=[home.front], notifiers=[TABLET])
    home.service.caption("front_door", "Before.")
    await home.messages("Before.")
    await home.core.restart()
    await home.core.until(f"has_value({home.front!r})")
    home.service.is_online(False)
    await home.core.until(f"is_state({home.front!r}, 'unavailable')")
    home.service.is_online(True)
    await home.core.until(f"has_value({home.front!r})")
    home.service.caption("front_door", "After.")
    await home.messages("After.")


async def test_a_camera_that_comes_back_during_a_visit_is_not_told_again(home: Home) -> None:
    await home.use(NOTIFY, cameras=[home.front, home.garden], notifiers=[TABLET])
    home.service.caption("garden", "Before.")
    home.service.caption("front_door", "Before, too.")
    await home.calls(2)
    home.service.is_online(False)
    await home.core.until(f"is_state({home.garden!r}, 'unavailable')")
    home.service.is_online(True)
    await home.core.until(f"has_value({home.garden!r})")
    home.service.caption("front_door", "After.")
    await home.messages("After.")


async def test_one_of_each_needs_no_list_and_can_be_run_by_hand(home: Home) -> None:
    name = await home.use(
        NOTIFY, cameras=home.front, notifiers=TABLET, words="man", words_not="cat", visit_gap=0
    )
    home.service.caption("front_door", "A man.")
    await home.messages("A man.")
    await home.core.until(f"state_attr({name!r}, 'current') == 0")
    await home.core.call("automation.trigger", name, skip_condition=True)
    await home.messages("A man.")


async def test_the_first_caption_of_a_camera_is_told(home: Home) -> None:
    home.service.discover("new_one")
    await home.learn("new_one_captioned")
    camera = home.ids["new_one_captioned"]
    await home.use(NOTIFY, cameras=[camera], notifiers=[TABLET])
    home.service.caption("new_one", "A man.")
    [shown] = await home.messages("A man.")
    assert shown["title"] == "New one"


async def test_a_visit_that_becomes_critical_sounds_again(home: Home) -> None:
    await home.use(NOTIFY, cameras=[home.front], notifiers=[TABLET])
    shown = []
    for text, priority in [("A.", "high"), ("B.", "critical"), ("C.", "critical"), ("D.", "low")]:
        home.service.caption("front_door", text, priority=priority)
        shown += await home.messages(text)
    assert len(set(tags(shown))) == 1
    assert sounds(shown) == [True, True, False, False]
    loud = shown[1]["data"]
    assert loud["push"]["sound"] == {"name": "default", "critical": 1, "volume": 1.0}
    assert loud["push"]["interruption-level"] == "critical"
    assert loud["channel"] == "alarm_stream"
    assert [each["data"]["channel"] for each in shown].count("alarm_stream") == 1


async def test_every_update_sounds_if_wanted(home: Home) -> None:
    await home.use(
        NOTIFY, cameras=[home.front], notifiers=[TABLET], sound_once=False, critical_sound=False
    )
    home.service.caption("front_door", "A.", priority="critical")
    shown = await home.messages("A.")
    home.service.caption("front_door", "B.")
    shown += await home.messages("B.")
    assert sounds(shown) == [True, True]
    assert {each["data"]["push"]["sound"] for each in shown} == {"default"}


@pytest.mark.parametrize("hours", [(-1, 1), (-1, -2)], ids=["in_a_day", "over_midnight"])
async def test_in_quiet_hours_only_critical_captions_come(
    home: Home, hours: tuple[int, int]
) -> None:
    begin, end = (
        (datetime.now(UTC) + timedelta(hours=each)).strftime("%H:%M:%S") for each in hours
    )
    wanted = {"cameras": [home.front], "notifiers": [TABLET], "quiet_from": begin, "quiet_to": end}
    await home.use(NOTIFY, **wanted)
    home.service.caption("front_door", "A man.", priority="high")
    home.service.caption("front_door", "A burglar.", priority="critical")
    await home.messages("A burglar.")
    await home.use(NOTIFY, **wanted, quiet_critical=False)
    home.service.caption("front_door", "Another.", priority="critical")
    await home.use(NOTIFY, **{**wanted, "quiet_from": end, "quiet_to": begin})
    home.service.caption("front_door", "A man.", priority="low")
    await home.messages("A man.")


async def test_visits_within_the_cooldown_are_left_out(home: Home) -> None:
    await home.use(NOTIFY, cameras=[home.front], notifiers=[TABLET], visit_gap=0, cooldown=4)
    home.service.caption("front_door", "A man.")
    shown = await home.messages("A man.")
    await asyncio.sleep(1)
    home.service.caption("front_door", "A postman.")
    home.service.caption("garden", "Not asked for.")
    await asyncio.sleep(1)
    home.service.caption("front_door", "A burglar.", priority="critical")
    shown += await home.messages("A burglar.")
    await asyncio.sleep(4.5)
    home.service.caption("front_door", "A neighbour.")
    shown += await home.messages("A neighbour.")
    assert len(set(tags(shown))) == 3


@pytest.mark.parametrize(
    "text",
    ["[1, 2]", "{'a': 1}", "None", "5", "{{ 1 / 0 }}", "\"Halt!\" 'sagt' er: größer als 5 \\ {%"],
)
async def test_a_caption_is_sent_as_it_is(home: Home, text: str) -> None:
    await home.use(NOTIFY, cameras=[home.front], notifiers=[TABLET])
    home.service.caption("front_door", text)
    await home.messages(text)
