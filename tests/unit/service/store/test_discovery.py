"""What is published for discovery is kept with the messages that bring it about."""

from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from broker.handover import Publish
from broker.publisher import to_outbox
from schemas.outbox import Channel, OutboxMessage
from service.errors import StoreError
from service.store.discovery import Published
from service.store.store import Store
from tests.support.factories import NOON
from tests.support.store_faults import FailEvery, open_faulty

FRONT = Published("front", b"{1}")


def row(topic: str, payload: bytes = b"{}") -> OutboxMessage:
    return to_outbox(Publish(topic, payload, retain=True), job_key=None, created_at=NOON)


@pytest.mark.both_databases
async def test_what_is_published_is_kept_with_its_message_until_it_is_taken_back(
    store_url: str,
) -> None:
    async with Store.open(store_url, base_topic="base") as store:
        table, back = store.discovery, Published("back", b"{2}")
        written = await table.change({"a": FRONT, "b": FRONT, "c": back}, [row("a"), row("b")])
        assert [each.row_id for each in written] == sorted(each.row_id for each in written)
        assert await table.devices() == ["back", "front"]
        assert await table.of_devices(["front"]) == {"a": FRONT, "b": FRONT}
        newer = Published("front", b"{3}")
        await table.change({"a": newer, "b": None, "c": None}, [row("a")])
        assert await table.of_devices(["front", "back"]) == {"a": newer}
        assert await store.outbox.pending_count(Channel.MQTT) == 3


async def test_neither_is_written_where_the_commit_fails(tmp_path: Path) -> None:
    faults = FailEvery(1 << 60)
    async with open_faulty(f"sqlite:///{tmp_path / 'store.db'}", faults) as store:
        faults.fail_in(3)  # begin, delete, insert
        with pytest.raises(StoreError):
            await store.discovery.change({"a": FRONT}, [row("a")])
        faults.fail_in(1 << 60)
        assert await store.discovery.devices() == []
        assert await store.outbox.pending_count(Channel.MQTT) == 0


async def test_a_file_has_one_service_whatever_its_base_topic_was(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    async with Store.open(url, base_topic="old") as store:
        await store.discovery.change({"a": FRONT}, [])
    async with Store.open(url, base_topic="new") as store:
        assert await store.discovery.of_devices(["front"]) == {"a": FRONT}
        await store.discovery.change({"a": None}, [])
        assert await store.discovery.devices() == []


@pytest.mark.parametrize("damage", ["payload = 'text'", "payload = 7", "object_id = x'ff00'"])
async def test_a_damaged_row_can_be_read_and_replaced(tmp_path: Path, damage: str) -> None:
    def spoil(connection: Connection) -> None:
        connection.execute(text(f"UPDATE discovery SET {damage}"))  # noqa: S608 - ours

    async with Store.open(f"sqlite:///{tmp_path / 'store.db'}", base_topic="base") as store:
        table = store.discovery
        await table.change({"a": FRONT}, [])
        await store._database.write(spoil)
        devices = await table.devices()
        assert len(devices) == 1
        found = await table.of_devices(devices)
        assert all(each.payload in {b"", FRONT.payload} for each in found.values())
        await table.change({"a": FRONT}, [])
        assert await table.of_devices(["front"]) == {"a": FRONT}
