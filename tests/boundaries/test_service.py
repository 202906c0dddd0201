"""The whole service with a real broker, in which parts break: it goes on, and says so."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from broker.embedded import EmbeddedBroker
from schemas.job import Job
from service.app import Parts, serve
from service.engines.process import EngineProcess
from service.settings import Settings
from service.store.store import Store
from tests.boundaries.bench import SECRET, Breaking, check_log
from tests.support.certificates import Certificate
from tests.support.conversation import Conversation, json_frame
from tests.support.factories import NOON, make_image, make_job
from tests.support.http_receivers import Receiver, breaks_tls

pytestmark = pytest.mark.timeout(120)

ENGINE = (sys.executable, "-m", "tests.support.quick_engine")


class Site:
    """A service and who speaks with it."""

    def __init__(self, port: int, base: str, folder: Path, **settings: Any) -> None:
        self.port = port
        self.base = base
        self.settings = Settings(
            mqtt={"port": port, "base_topic": base},
            data_dir=folder / "data",
            stats_interval=0.1,
            **settings,
        )
        self.store: Any = None
        self.numbers = iter(range(1000, 2000))

    @property
    def store_url(self) -> str:
        return f"sqlite:///{self.settings.data_dir / 'jobs.sqlite3'}"

    @asynccontextmanager
    async def running(
        self, stand_before: Callable[[Store], Breaking] = Breaking
    ) -> AsyncIterator[Conversation]:
        """The service, with something that can break before its store."""
        stop, ready = asyncio.Event(), asyncio.Event()

        @asynccontextmanager
        async def open_store(where: str | Path, **options: Any) -> AsyncIterator[Any]:
            async with Store.open(where, **options) as store:
                self.store = stand_before(store)
                yield self.store

        parts = Parts(open_store=open_store, engine=partial(EngineProcess, command=ENGINE))
        task = asyncio.create_task(serve(self.settings, stop=stop, on_ready=ready.set, parts=parts))
        async with Conversation(self.port, self.base) as talk:
            try:
                async with asyncio.timeout(60):
                    await ready.wait()
                await talk.until_online()  # a frame of before is heard by nobody
                yield talk
                assert not task.done(), "the service has ended"
            finally:
                stop.set()
                await task

    async def next_frame_is_captioned(self, talk: Conversation) -> None:
        number = next(self.numbers)
        await talk.send("front", json_frame(make_image(number), job_id=f"next-{number}"))
        await talk.wait_for("front/status", job_id=f"next-{number}", status="completed")


@pytest.mark.parametrize("field", ["frame_url", "webhook_url"])
async def test_odd_host_name_is_refused(
    mosquitto: EmbeddedBroker, topic_base: str, tmp_path: Path, field: str
) -> None:
    anybody = {"allow_hosts": ["*"]}
    site = Site(mosquitto.port, topic_base, tmp_path, fetch=anybody, webhooks=anybody)
    async with site.running() as talk:
        frame = json_frame(make_image(1), job_id="odd") | {field: "http://xn--.example.com/a.jpg"}
        if field == "frame_url":
            del frame["frame_data"]
        await talk.send("front", frame)
        status = await talk.wait_for("front/status", job_id="odd", status="rejected")
        assert status.json["error"]["code"] == "url_refused"
        await site.next_frame_is_captioned(talk)


async def test_damaged_tls_record_fails_its_job_now_and_at_a_start(
    mosquitto: EmbeddedBroker,
    topic_base: str,
    tmp_path: Path,
    https_certificate: Certificate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(https_certificate.ca_file))
    site = Site(mosquitto.port, topic_base, tmp_path, fetch={"allow_hosts": ["localhost"]})
    async with Receiver(breaks_tls("body"), ssl_context=https_certificate.server) as receiver:
        url = f"https://localhost:{receiver.port}/a.jpg"
        site.settings.data_dir.mkdir()
        async with Store.open(site.store_url, instance=instance_of(site)) as store:
            job = make_job(job_id="left-behind", frame_url=url, sha256="", max_age=1e9)
            await store.accept([job], {}, [])
        async with site.running() as talk:
            await talk.send("front", {"frame_url": url, "job_id": "odd"})
            for job_id in ("left-behind", "odd"):
                status = await talk.wait_for("front/status", job_id=job_id, status="failed")
                assert status.json["error"]["code"] == "fetch_failed"
            await site.next_frame_is_captioned(talk)


def instance_of(site: Site) -> str:
    """The service's name, made before its first start."""
    (site.settings.data_dir / "instance").write_text("here")
    return "here"


async def test_parts_that_break_for_ever_are_seen_and_the_others_go_on(
    mosquitto: EmbeddedBroker, topic_base: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    site = Site(mosquitto.port, topic_base, tmp_path, store={"cleanup_interval": 0.2})
    async with site.running() as talk:
        await talk.wait_for("bridge/health", status="healthy")
        site.store.break_at("counts")  # monitor and retention
        await talk.wait_for("bridge/log", level="error")
        seen = len(talk.said("bridge/health"))
        health = (await talk.wait_for_many(seen + 2, "bridge/health"))[-1].json
        assert (health["status"], health["checks"]["internal"]["status"]) == ("degraded",) * 2
        assert health["checks"]["internal"]["message"].startswith("unexpected errors: ")
        await site.next_frame_is_captioned(talk)
        broken = site.store.num_broken
        await asyncio.sleep(1.0)
        assert site.store.num_broken - broken < 30  # ten documents and five sweeps, no hot loop
        assert not any(SECRET.encode() in each.payload for each in talk.heard)
    check_log(caplog)


async def test_sender_that_breaks_is_started_again(
    mosquitto: EmbeddedBroker, topic_base: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    site = Site(mosquitto.port, topic_base, tmp_path)

    def break_outbox(store: Store) -> Breaking:
        broken = Breaking(store)
        broken.outbox = Breaking(store.outbox)
        broken.outbox.break_at("for_broker", lambda *_, **__: broken.outbox.num_broken < 2)
        return broken

    async with site.running(break_outbox) as talk:
        await site.next_frame_is_captioned(talk)
        assert site.store.outbox.num_broken == 2
    check_log(caplog)


async def test_override_that_does_not_hold_keeps_nobody_from_starting(
    mosquitto: EmbeddedBroker, topic_base: str, tmp_path: Path
) -> None:
    site = Site(mosquitto.port, topic_base, tmp_path)
    async with Store.open(site.store_url) as store:
        await store.set_camera_override("front", {"cooldown": "soon"})
        await store.set_camera_override("no camera!", {"cooldown": 1})
        await store.set_camera_override("back", {"webhook_url": "http://["})
    async with site.running() as talk:
        await site.next_frame_is_captioned(talk)
        await talk.wait_for("back/settings", webhook_url="(unreadable URL)/**********")


class OddTimes(Breaking):
    """Hands out the odd job of the last run without the time of its arrival."""

    async def recover(self) -> list[Job]:
        jobs = await self.part.recover()
        odd = {"arrived_monotonic": "never"}
        return [job.model_copy(update=odd) if job.job_id == "odd" else job for job in jobs]


async def test_job_of_the_last_run_that_cannot_be_taken_back_fails_alone(
    mosquitto: EmbeddedBroker, topic_base: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    site = Site(mosquitto.port, topic_base, tmp_path)
    site.settings.data_dir.mkdir()
    async with Store.open(site.store_url, instance=instance_of(site)) as store:
        jobs = [
            make_job(job_id=job_id, max_age=1e9, received_at=NOON, num_bytes=3)
            for job_id in ("odd", "even")
        ]
        await store.accept(jobs, {job.key: make_image(3) for job in jobs}, [])
    async with site.running(OddTimes) as talk:
        status = await talk.wait_for("front/status", job_id="odd", status="failed")
        assert status.json["error"]["code"] == "internal"
        await talk.wait_for("front/status", job_id="even", status="completed")
        await site.next_frame_is_captioned(talk)
    check_log(caplog)
