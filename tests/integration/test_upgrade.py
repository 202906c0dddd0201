"""What an earlier version left in its database is captioned and sent by this one."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from broker.embedded import EmbeddedBroker
from schemas.job import Job, JobStatus
from schemas.outbox import Channel
from schemas.result import ResultDocument
from service.app import serve
from service.settings import Settings
from tests.support.conversation import Conversation, json_frame
from tests.support.factories import make_image, make_job
from tests.support.http_receivers import Receiver
from tests.support.old_store import OldMessage, write_old_store

MODEL = Path(__file__).parents[2] / "demo" / "model"
IMAGES = {f"old-{number}": make_image(500 + number) for number in range(2)}


def jobs_of(receiver: Receiver) -> list[Job]:
    """One that waited and one that an engine had when the service ended."""
    now = datetime.now(UTC)
    waiting = make_job(
        job_id="old-0", webhook_url=receiver.url, webhook_is_trusted=True, num_bytes=1
    )
    running = make_job(
        job_id="old-1", camera_id="garden", num_bytes=1, status=JobStatus.PROCESSING, attempts=1
    )
    return [
        job.model_copy(update={"received_at": now, "taken_at": now}) for job in (waiting, running)
    ]


def messages_of(receiver: Receiver, base: str) -> list[OldMessage]:
    """What the broker and a receiver had not taken yet."""
    document = ResultDocument(
        job_id="older",
        camera_id="garden",
        status=JobStatus.EXPIRED,
        result=None,
        error_message="too old",
        timestamp=(now := datetime.now(UTC)),
        location=None,
        metadata={},
    )
    payload = document.model_dump_json().encode()
    return [
        OldMessage("older", Channel.MQTT, f"{base}/garden/status", payload, {"qos": 1}, now),
        OldMessage("older", Channel.WEBHOOK, receiver.url, payload, {"trusted": True}, now),
    ]


async def test_jobs_and_messages_of_the_first_schema_are_worked_off(
    mosquitto: EmbeddedBroker, topic_base: str, tmp_path: Path
) -> None:
    content: dict[str, Any] = {
        "mqtt": {"port": mosquitto.port, "base_topic": topic_base},
        "data_dir": tmp_path,
        "model": {"name": str(MODEL), "device": "cpu", "slots": 2, "max_tokens": 16},
    }
    (tmp_path / "instance").write_text("earlier", encoding="ascii")
    stop = asyncio.Event()
    async with Receiver() as receiver, Conversation(mosquitto.port, topic_base) as talk:
        await write_old_store(
            f"sqlite:///{tmp_path / 'jobs.sqlite3'}",
            jobs_of(receiver),
            IMAGES,
            messages_of(receiver, topic_base),
            instance="earlier",
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(serve(Settings(**content), stop=stop))
            await talk.wait_for("front/caption", job_id="old-0")
            await talk.wait_for("garden/caption", job_id="old-1")
            await talk.wait_for("garden/status", job_id="older", status="expired")
            await talk.send("front", json_frame(make_image(510), job_id="old-0"))  # known
            await talk.wait_for_many(2, "front/status", job_id="old-0", status="completed")
            await talk.send("garden", json_frame(make_image(511), job_id="old-0"))  # another's
            await talk.wait_for("garden/caption", job_id="old-0")
            await receiver.wait_for(2)
            stop.set()
    assert {each.headers["webhook-id"] for each in receiver.requests} == {"old-0", "older"}
