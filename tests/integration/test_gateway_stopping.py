"""Callers that wait while the service stops: each gets a whole answer that says so."""

import asyncio
from pathlib import Path

import httpx

from broker.embedded import EmbeddedBroker
from tests.support.factories import make_image
from tests.support.gateway import gateway

_JPEG = {"Content-Type": "image/jpeg"}


async def test_who_waits_hears_that_the_service_stops(
    mosquitto: EmbeddedBroker, tmp_path: Path
) -> None:
    async with (
        httpx.AsyncClient(timeout=30) as client,
        asyncio.TaskGroup() as tasks,
        gateway(mosquitto, tmp_path / "service", "http/stopping") as service,
    ):
        await client.post(f"{service.url}/queue/pause")
        picture = make_image(seed=1)
        job = {"camera_id": "door", "job_id": "one"}
        await client.post(
            f"{service.url}/motion/detect", params=job, content=picture, headers=_JPEG
        )
        asked = client.post(f"{service.url}/caption", content=picture, headers=_JPEG)
        polled = client.get(f"{service.url}/queue/job/one", params={"wait": "60"})
        streamed = client.post(
            f"{service.url}/v1/caption?stream=true", content=picture, headers=_JPEG
        )
        waiting = [tasks.create_task(each) for each in (asked, polled, streamed)]
        await asyncio.sleep(0.5)
    answers = [each.result() for each in waiting]
    assert [each.status_code for each in answers] == [503, 503, 503]
    assert {each.json()["error"]["code"] for each in answers} == {"stopping"}
    assert all(each.headers["Retry-After"] == "5" for each in answers)
