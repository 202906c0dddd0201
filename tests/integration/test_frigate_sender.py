"""Descriptions go back into Frigate: a real store, a server with its answers, time by hand."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from broker.topics import Topics
from schemas.outbox import Channel, OutboxMessage
from schemas.status import DeadLetter
from schemas.write_back import RECEIVER, WriteBack
from service.delivery.dead_letters import DeadLetters
from service.delivery.frigate import FrigateSender
from service.delivery.overflow import Overflow
from service.frigate.api import FrigateApi
from service.frigate_settings import FrigateSettings
from service.http.operator_http import OperatorHttp
from service.settings import Settings
from service.store.store import Store
from tests.support.factories import NOON
from tests.support.fakes import FakeClock
from tests.support.http_receivers import Behaviour, answers, says_nothing
from tests.support.scripted_frigate import EVENT, ScriptedFrigate

TEXT = "A person with a parcel."
_DAY_S = 86400.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOON)


@pytest.fixture
async def store(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Store]:
    async with Store.open(f"sqlite:///{tmp_path / 'store.db'}", clock=clock) as opened:
        yield opened


@pytest.fixture
async def frigate() -> AsyncIterator[ScriptedFrigate]:
    frigate = ScriptedFrigate()
    async with frigate.receiver:
        yield frigate


class RestingSender(FrigateSender):
    """Says when it has looked for rows and none is being written."""

    is_resting = False

    async def _start_due(self, tasks: asyncio.TaskGroup) -> float:
        self.is_resting = False
        pause = await super()._start_due(tasks)
        self.is_resting = not self._busy
        return pause

    async def rest(self) -> None:
        """Wait until it has looked once more, and written what it found."""
        self.is_resting = False
        self.notify(())
        while self._wake.is_set() or not self.is_resting:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.002)


class Bench:
    """A sender, and what reaches Frigate and the dead letters."""

    def __init__(
        self, store: Store, frigate: ScriptedFrigate, clock: FakeClock, **settings: Any
    ) -> None:
        self.store, self.frigate, self.clock = store, frigate, clock
        self.settings = FrigateSettings(url=frigate.url, timeout=0.5, **settings)
        self.api: type[FrigateApi] = FrigateApi
        self.letters: list[DeadLetter] = []
        store.outbox.subscribe(Channel.MQTT, self._note)

    def _note(self, messages: Sequence[OutboxMessage]) -> None:
        letters = [each for each in messages if each.destination == "base/bridge/dead_letter"]
        self.letters += [DeadLetter.model_validate_json(each.payload) for each in letters]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """A sender runs; afterwards it is gone, as after a crash."""
        api = self.api(self.settings, OperatorHttp(), 1000, self.clock, "1.2")
        self.sender = RestingSender(
            self.store.outbox,
            api,
            self.settings,
            letters=DeadLetters(self.store, Topics("base")),
            clock=self.clock,
            rng=random.Random(1),
        )
        task = asyncio.create_task(self.sender.run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def write(self, event_id: str = EVENT, text: str = TEXT, **more: Any) -> None:
        content = WriteBack(description=text, **more)
        await self.put(event_id, content.model_dump_json().encode())

    async def put(self, event_id: str, payload: bytes) -> None:
        row = OutboxMessage(
            job_key="front/job",
            channel=Channel.FRIGATE,
            destination=event_id,
            payload=payload,
            created_at=NOON,
            receiver=RECEIVER,
        )
        await self.store.accept([], {}, [row])

    async def left(self) -> int:
        return await self.store.outbox.pending_count(Channel.FRIGATE)

    async def pass_time(self, seconds: float) -> None:
        """Let time pass, and the sender do what is due then."""
        self.clock.advance(seconds)
        await self.sender.rest()

    async def pass_until_settled(self, most_s: float = 300.0) -> float:
        """Let time pass until no row is left; returns how much."""
        passed = 0.0
        while await self.left() and passed < most_s:
            await self.pass_time(1.0)
            passed += 1.0
        return passed


@pytest.fixture
def bench(store: Store, frigate: ScriptedFrigate, clock: FakeClock) -> Bench:
    return Bench(store, frigate, clock)


def description(frigate: ScriptedFrigate, event_id: str = EVENT) -> str | None:
    found: str | None = frigate.events[event_id]["data"].get("description")
    return found


async def test_nothing_is_written_before_the_end_is_stored(
    bench: Bench, frigate: ScriptedFrigate
) -> None:
    event = frigate.add(ended=False)
    async with bench.running():
        await bench.write()
        await bench.pass_time(0)
        await bench.pass_time(10)
        assert frigate.writes == []
        event["end_time"] = 1700000010.0
        assert await bench.pass_until_settled() < 30
    assert frigate.writes == [(EVENT, "description", TEXT)]
    assert description(frigate) == TEXT


async def test_object_that_is_stored_late_is_waited_for(
    bench: Bench, frigate: ScriptedFrigate
) -> None:
    async with bench.running():
        await bench.write()
        await bench.pass_time(0)
        await bench.pass_time(5)
        frigate.add()
        await bench.pass_until_settled()
    assert description(frigate) == TEXT


async def test_description_that_a_late_write_wipes_is_written_again(
    bench: Bench, frigate: ScriptedFrigate
) -> None:
    event = frigate.add()

    def wipe(_: str) -> None:
        if len(frigate.writes) < 3:
            event["data"] = {"score": 0.8}

    frigate.on_write = wipe
    async with bench.running():
        await bench.write()
        await bench.pass_until_settled()
    assert len(frigate.writes) == 3
    assert description(frigate) == TEXT


async def test_restart_between_write_and_reading_it_back_writes_once(
    bench: Bench, frigate: ScriptedFrigate
) -> None:
    frigate.add()
    async with bench.running():
        await bench.write()
        await bench.pass_time(0)
        assert await bench.left() == 1
    async with bench.running():
        await bench.pass_until_settled()
    assert await bench.left() == 0
    assert frigate.writes == [(EVENT, "description", TEXT)]


async def test_object_that_frigate_never_stores_is_given_up_with_the_reason(
    bench: Bench, frigate: ScriptedFrigate
) -> None:
    async with bench.running():
        await bench.write()
        await bench.pass_time(0)
        for _ in range(10):
            await bench.pass_time(100)
        assert await bench.left() == 0
    [letter] = bench.letters
    assert (letter.error.code, letter.camera_id) == ("write_back", "front")
    assert letter.topic == f"frigate event {EVENT}"
    assert "neither clip nor snapshot" in letter.error.message


@pytest.mark.parametrize(("overwrite", "expected"), [(False, "Its own."), (True, TEXT)])
async def test_description_of_somebody_else_stays_unless_told(
    store: Store, frigate: ScriptedFrigate, clock: FakeClock, overwrite: bool, expected: str
) -> None:
    frigate.add(data={"description": "Its own."})
    bench = Bench(store, frigate, clock, overwrite=overwrite)
    async with bench.running():
        await bench.write()
        await bench.pass_until_settled()
    assert description(frigate) == expected
    assert bench.letters == []


async def test_description_with_half_a_character_stays(
    bench: Bench, frigate: ScriptedFrigate
) -> None:
    frigate.add(data={"description": "\ud800"})
    await bench.write()
    async with bench.running():
        await bench.pass_time(0)
    assert (await bench.left(), frigate.writes, bench.letters) == (0, [], [])


class BreakingApi(FrigateApi):
    """Finds what nobody has thought of."""

    async def event(self, event_id: str) -> dict[str, Any] | None:
        raise RuntimeError(event_id)


async def test_row_that_breaks_the_sender_is_given_up_after_the_set_time(bench: Bench) -> None:
    bench.api = BreakingApi
    await bench.write()
    async with bench.running():
        await bench.pass_time(0)
        assert await bench.left() == 1
        await bench.pass_time(_DAY_S)
    assert await bench.left() == 0
    assert [each.error.code for each in bench.letters] == ["write_back"]


@pytest.mark.parametrize(("overwrite", "expected"), [(False, None), (True, TEXT)])
async def test_camera_that_frigate_describes_itself_is_left_to_it_unless_told(
    store: Store,
    frigate: ScriptedFrigate,
    clock: FakeClock,
    overwrite: bool,
    expected: str | None,
) -> None:
    frigate.add()
    frigate.genai = {"front_door"}
    bench = Bench(store, frigate, clock, overwrite=overwrite)
    async with bench.running():
        await bench.write(sub_label="DHL", score=0.9)
        await bench.pass_until_settled()
    assert description(frigate) == expected
    assert frigate.events[EVENT]["sub_label"] == "DHL"


async def test_sub_label_goes_first_and_with_its_score(
    bench: Bench, frigate: ScriptedFrigate
) -> None:
    frigate.add()
    async with bench.running():
        await bench.write(sub_label="L" * 120, score=0.9)
        await bench.pass_until_settled()
    assert frigate.writes == [(EVENT, "sub_label", "L" * 100), (EVENT, "description", TEXT)]
    assert frigate.events[EVENT]["data"]["sub_label_score"] == 0.9


@pytest.mark.parametrize(
    ("chosen", "score", "present", "expected"),
    [
        ("DHL", 0.5, None, None),
        ("DHL", 0.0, None, None),
        ("neither", 0.9, None, None),
        ("DHL", 0.9, "John", "John"),
        ("DHL", 0.9, ["John", 0.8], ["John", 0.8]),
        ("DHL", 0.9, "", "DHL"),
    ],
)
async def test_sub_label_is_written_only_where_it_is_sure_and_nothing_is_there(
    store: Store,
    frigate: ScriptedFrigate,
    clock: FakeClock,
    chosen: str,
    score: float,
    present: object,
    expected: object,
) -> None:
    frigate.add(sub_label=present)
    asked = {"question": "Who?", "choices": ["DHL", "neither"], "none_of_them": "neither"}
    bench = Bench(store, frigate, clock, sub_label=asked)
    async with bench.running():
        await bench.write(sub_label=chosen, score=score)
        await bench.pass_until_settled()
    assert frigate.events[EVENT]["sub_label"] == expected
    assert description(frigate) == TEXT


async def test_newer_description_counts_and_the_older_does_not_come_back(
    bench: Bench, frigate: ScriptedFrigate
) -> None:
    event = frigate.add(ended=False)
    async with bench.running():
        await bench.write(text="First.")
        await bench.pass_time(0)  # it steps aside
        event["end_time"] = 1700000010.0
        await bench.write(text="Second.")
        await bench.pass_time(0)
        await bench.pass_until_settled()
        await bench.pass_time(600)
    assert description(frigate) == "Second."
    assert await bench.left() == 0


@pytest.mark.parametrize("behave", [answers(502), says_nothing])
async def test_frigate_that_is_away_is_asked_one_thing_at_a_time_and_loses_nothing(
    bench: Bench, frigate: ScriptedFrigate, behave: Behaviour
) -> None:
    ids = [f"17000000{number}.5-abc" for number in range(20)]
    for each in ids:
        frigate.add(each)
    frigate.instead["/"] = behave
    async with bench.running():
        for each in ids:
            await bench.write(each)
        await bench.pass_time(0)
        num_first = len(frigate.receiver.requests)
        assert num_first <= 4
        await bench.pass_time(30)
        await bench.pass_time(30)
        assert len(frigate.receiver.requests) <= num_first + 2
        assert await bench.left() == 20
        frigate.instead.clear()
        assert await bench.pass_until_settled() < 120
    assert {description(frigate, each) for each in ids} == {TEXT}
    assert bench.letters == []


async def test_role_that_is_too_low_is_waited_for(bench: Bench, frigate: ScriptedFrigate) -> None:
    frigate.add()
    frigate.role = "viewer"
    async with bench.running():
        await bench.write()
        await bench.pass_time(0)
        await bench.pass_time(3600)
        assert await bench.left() == 1
        frigate.role = "admin"
        await bench.pass_time(3600)
        await bench.pass_until_settled()
    assert description(frigate) == TEXT


@pytest.mark.parametrize("path", ["/", f"/api/events/{EVENT}/description"])
async def test_what_never_works_is_given_up_after_the_set_time(
    bench: Bench, frigate: ScriptedFrigate, path: str
) -> None:
    frigate.add()
    frigate.instead[path] = answers(502 if path == "/" else 500)
    async with bench.running():
        await bench.write()
        await bench.pass_time(0)
        await bench.pass_time(_DAY_S - 600)
        assert bench.letters == []
        await bench.pass_time(700)
        await bench.pass_time(700)
        assert await bench.left() == 0
    [letter] = bench.letters
    assert letter.error.code == "write_back"
    assert "50" in letter.error.message


async def test_one_object_that_always_fails_holds_up_no_other(
    bench: Bench, frigate: ScriptedFrigate
) -> None:
    ids = [f"17000000{number}.5-abc" for number in range(30)]
    frigate.instead[f"/api/events/{ids[0]}"] = answers(500)
    frigate.instead[f"/api/events/{ids[1]}"] = answers(200, body=b"<html>")
    for each in ids:
        frigate.add(each)
    async with bench.running():
        for each in ids:
            await bench.write(each)
        await bench.pass_time(0)
        for _ in range(20):
            await bench.pass_time(1)
    assert {description(frigate, each) for each in ids[2:]} == {TEXT}
    assert await bench.left() == 2


@pytest.mark.parametrize("payload", [b"\xff", b"{}", b'{"description": ""}', b""])
async def test_row_that_cannot_be_read_is_given_up_alone(
    bench: Bench, frigate: ScriptedFrigate, payload: bytes
) -> None:
    frigate.add()
    async with bench.running():
        await bench.put("17000000.5-other", payload)
        await bench.write()
        await bench.pass_until_settled()
    [letter] = bench.letters
    assert (letter.error.code, letter.topic) == ("write_back", "frigate event 17000000.5-other")
    assert description(frigate) == TEXT


async def test_configuration_that_cannot_be_read_stops_no_description(
    bench: Bench, frigate: ScriptedFrigate
) -> None:
    frigate.add()
    frigate.instead["/api/config"] = answers(500)
    async with bench.running():
        await bench.write()
        await bench.pass_until_settled()
    assert description(frigate) == TEXT


async def test_too_many_rows_become_dead_letters(
    bench: Bench, store: Store, clock: FakeClock
) -> None:
    for number in range(105):
        await bench.write(f"17000000{number}.5-abc")
    settings = Settings.model_validate({"webhooks": {"max_messages": 100}})
    await Overflow(store, settings, DeadLetters(store, Topics("base")), clock).check()
    assert await bench.left() == 100
    assert {each.error.code for each in bench.letters} == {"outbox_full"}
    assert bench.letters[0].topic == "frigate event 170000000.5-abc"
