"""The stages of a frame's way on a real store, each of which can be broken where a test wants.

What is injected is a RuntimeError: nobody foresees it, and its text must not get outside.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from broker.message import Message
from broker.topics import Topics
from engine.images import DEFAULT_LIMITS
from schemas.frame import Priority
from schemas.job import Job, JobStatus, job_key, split_key
from schemas.outbox import Channel, OutboxMessage
from schemas.status import StatusDocument
from service.cameras import Cameras
from service.clock import Clock
from service.delivery.deliver import Deliver
from service.errors import UNEXPECTED
from service.intake.intake import Checks, Intake
from service.queue.heap import JobHeap
from service.queue.job_queue import JobQueue
from service.settings import Settings
from service.statistics import Statistics
from service.store.store import Store
from tests.support.conversation import json_frame
from tests.support.factories import make_image
from tests.support.stages import receiving

SECRET = "s3cret"  # noqa: S105 - the text of every injected error
TOPICS = Topics("base")
_NUMBERS = count(1)


class Breaking:
    """Stands before a part; everything is the part's but what a test breaks."""

    def __init__(self, part: Any) -> None:
        self.part = part
        self.breaks: dict[str, Callable[..., bool]] = {}
        self.num_broken = 0
        self.outbox: Any = getattr(part, "outbox", None)

    def break_at(self, name: str, when: Callable[..., bool] = lambda *_, **__: True) -> None:
        """Raise when `name` is called with such arguments."""
        self.breaks[name] = when

    def mend(self) -> None:
        self.breaks.clear()

    def __len__(self) -> int:
        return len(self.part)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.part, name)
        if name not in self.breaks:
            return found

        def call(*arguments: Any, **options: Any) -> Any:
            if self.breaks[name](*arguments, **options):
                self.num_broken += 1
                raise RuntimeError(SECRET)
            return found(*arguments, **options)

        return call


def key_of(value: Any) -> str:
    """Of a job, or of what is about one: a ticket, an ending, an order."""
    for name in ("key", "job_key"):
        if isinstance(key := getattr(value, name, None), str):
            return key
    return ""


def names(*texts: str) -> Callable[..., bool]:
    """Whether an argument is one of the texts, is of a job with it as its id, or holds such."""

    def is_named(value: Any) -> bool:
        if isinstance(value, str):
            return value in texts or split_key(value)[1] in texts
        if isinstance(value, list | tuple | set | frozenset | dict):
            return any(map(is_named, value))
        return is_named(key_of(value))

    return lambda *arguments, **_: any(map(is_named, arguments))


class Inbox:
    """The receiving connection, as intake sees it."""

    def __init__(self) -> None:
        self.inbox: asyncio.Queue[Message] = asyncio.Queue()
        self.acknowledged: list[int] = []
        self.num_released = 0

    def acknowledge(self, message: Message) -> bool:
        self.acknowledged.append(message.mid)
        return True

    def release(self, message: Message) -> None:
        self.num_released += 1


class Urls:
    """Allows every URL."""

    def check_webhook(self, url: str) -> None: ...

    def check_fetch(self, url: str) -> None: ...


class Gate:
    """Has room."""

    def accepts(self, priority: Priority) -> bool:
        return True


class Downloads:
    """Remembers what waits for its image."""

    def __init__(self) -> None:
        self.added: list[str] = []

    async def add(self, job: Job) -> None:
        self.added.append(job.job_id)


class Outside:
    """Everything that is said: documents at once, rows of the outbox when they are committed."""

    def __init__(self) -> None:
        self.documents: list[BaseModel] = []
        self.rows: list[OutboxMessage] = []

    def announce(self, document: BaseModel, *, camera_id: str | None = None) -> bool:
        self.documents.append(document)
        return True

    def keep(self, document: BaseModel, *, camera_id: str) -> None: ...

    def forget(self, camera_id: str) -> None: ...

    def notify(self, messages: Sequence[OutboxMessage]) -> None:
        self.rows += messages


@dataclass
class Bench:
    """What a test works with; every part is `Breaking`."""

    store: Any
    deliver: Any
    line: Any
    cameras: Any
    urls: Any
    gate: Any
    downloads: Any
    outside: Any
    inbox: Inbox
    intake: Intake
    settings: Settings
    statistics: Statistics
    clock: Clock
    cameras_of: dict[str, str] = field(default_factory=dict)  # who sent it, by job id

    def send(self, job_id: str, *, camera_id: str = "front", **fields: Any) -> None:
        """A frame arrives."""
        number = next(_NUMBERS)
        frame = json_frame(make_image(number), job_id=job_id, **fields)
        if "frame_url" in fields:
            del frame["frame_data"]
        self.cameras_of[job_id] = camera_id
        self.send_raw(json.dumps(frame).encode(), camera_id)

    def send_raw(self, payload: bytes, camera_id: str = "front") -> None:
        number = next(_NUMBERS)
        self.inbox.inbox.put_nowait(
            Message(
                topic=TOPICS.frame(camera_id),
                payload=payload,
                qos=1,
                retain=False,
                dup=False,
                generation=1,
                mid=number,
                arrived_at=self.clock.now(),
                arrived_monotonic=self.clock.monotonic(),
            )
        )

    async def job(self, job_id: str) -> Job | None:
        """As the store has it."""
        found: Job | None = await self.store.part.get(self.key(job_id))
        return found

    def key(self, job_id: str) -> str:
        """Of a job that was sent."""
        return job_key(self.cameras_of[job_id], job_id)

    async def until(self, is_so: Callable[[], bool], timeout_s: float = 20.0) -> None:
        async with asyncio.timeout(timeout_s):
            while not is_so():  # noqa: ASYNC110 - polls real parts
                await asyncio.sleep(0.005)

    async def until_acknowledged(self, number: int) -> None:
        await self.until(lambda: len(self.inbox.acknowledged) >= number)

    async def until_status(self, job_id: str, status: JobStatus) -> Job:
        async with asyncio.timeout(20):
            while True:
                job = await self.job(job_id)
                if job is not None and job.status is status:
                    return job
                await asyncio.sleep(0.01)

    def statuses(self, job_id: str) -> list[StatusDocument]:
        """Final ones, as they go out."""
        documents = [
            StatusDocument.model_validate_json(row.payload)
            for row in self.outside.rows
            if row.destination.endswith("/status")
        ]
        return [each for each in documents if each.job_id == job_id]


@asynccontextmanager
async def boundary_bench(folder: Path, **settings: Any) -> AsyncIterator[Bench]:
    """Intake and what is behind it, running."""
    configured = Settings(**settings)
    clock, statistics, inbox = Clock(), Statistics(), Inbox()
    async with Store.open(f"sqlite:///{folder / 'jobs.sqlite3'}") as opened:
        store, outside = Breaking(opened), Breaking(Outside())
        cameras = Breaking(
            Cameras(configured, TOPICS, store, outside, clock)  # type: ignore[arg-type]
        )
        opened.outbox.subscribe(Channel.MQTT, lambda rows: outside.notify(rows))
        deliver = Breaking(
            Deliver(
                store,  # type: ignore[arg-type]
                TOPICS,
                outside,
                statistics,
                clock,
                cameras,  # type: ignore[arg-type]
            )
        )
        heap = JobHeap(configured.queue.capacity)
        line = Breaking(JobQueue(heap, store, deliver, clock))  # type: ignore[arg-type]
        urls, gate, downloads = Breaking(Urls()), Breaking(Gate()), Breaking(Downloads())
        intake = Intake(
            store,  # type: ignore[arg-type]
            deliver,  # type: ignore[arg-type]
            line,  # type: ignore[arg-type]
            lambda job: downloads.add(job),  # looked up anew: a test may break it
            cameras,  # type: ignore[arg-type]
            Checks(urls, DEFAULT_LIMITS),
            gate,
            configured,
        )
        async with receiving(inbox, intake, configured, TOPICS) as running:
            yield Bench(
                store,
                deliver,
                line,
                cameras,
                urls,
                gate,
                downloads,
                outside,
                inbox,
                intake,
                configured,
                statistics,
                clock,
            )
            assert not running.done(), "intake has ended"


def check_log(caplog: pytest.LogCaptureFixture) -> None:
    """The traceback is there, and the error's text nowhere but in it."""
    assert any(record.exc_info for record in caplog.records)
    assert not any(SECRET in record.getMessage() for record in caplog.records)


def assert_internal(status: StatusDocument, expected: JobStatus) -> None:
    """What the outside hears of an unexpected error."""
    assert status.status is expected
    assert status.error is not None
    assert (status.error.code, status.error.message) == ("internal", UNEXPECTED)
    assert status.message == UNEXPECTED
