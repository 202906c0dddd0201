"""A batch that is interrupted loses nothing, and nothing is captioned twice."""

from pathlib import Path

from broker.embedded import EmbeddedBroker
from tests.integration.test_requests import Asking
from tests.support.conversation import json_frame
from tests.support.factories import make_image
from tests.support.harness import Service

_NUM_ITEMS = 60


async def test_kill_in_the_middle_of_a_batch_loses_nothing(
    mosquitto: EmbeddedBroker, tmp_path: Path, topic_base: str
) -> None:
    engine = ("--pace-ms", "20", "--capacity", "2")
    async with (
        Service(tmp_path / "service", mosquitto.port, topic_base) as service,
        Asking(mosquitto.port, topic_base) as talk,
    ):
        await service.start(engine=engine)
        items = [json_frame(make_image(i)) for i in range(_NUM_ITEMS)]
        batch = await talk.data("batch/submit", {"camera_id": "yard", "items": items})
        name = batch["batch_id"]
        for num_completed in (5, 25):
            await talk.wait_for_many(num_completed, "yard/status", status="completed")
            await service.kill()
            await service.start(engine=engine)
        found = await talk.wait_for(f"bridge/batch/{name}", progress=1)
        assert (found.json["completed"], found.json["total"]) == (_NUM_ITEMS, _NUM_ITEMS)
        results = (await talk.data("batch/get", name.encode()))["results"]
        assert all(each["result"] for each in results)
        ids = [each["job_id"] for each in results]
        ends = [each.json["job_id"] for each in talk.said("yard/status", status="completed")]
        assert set(ends) == set(ids)


async def test_kill_while_a_batch_is_cancelled_ends_what_waited(
    mosquitto: EmbeddedBroker, tmp_path: Path, topic_base: str
) -> None:
    engine = ("--pace-ms", "200", "--capacity", "1")
    async with (
        Service(tmp_path / "service", mosquitto.port, topic_base) as service,
        Asking(mosquitto.port, topic_base) as talk,
    ):
        await service.start(engine=engine)
        items = [json_frame(make_image(i)) for i in range(_NUM_ITEMS)]
        batch = await talk.data("batch/submit", {"camera_id": "yard", "items": items})
        await talk.data("batch/cancel", batch["batch_id"].encode())
        await service.kill()
        await service.start(engine=engine)
        end = (await talk.wait_for(f"bridge/batch/{batch['batch_id']}", progress=1)).json
        assert end["state"] == "cancelled"
        assert end["completed"] + end["cancelled"] == _NUM_ITEMS
        assert end["cancelled"] >= _NUM_ITEMS - 5
