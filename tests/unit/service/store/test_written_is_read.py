"""Whatever intake accepts can be read back: by a start, and by whoever sends what comes of it.

The class behind a row that passes one validator on its way in and meets another on its way out.
"""

import asyncio
import base64
import json
import math
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, delete

from broker.message import NO_PROPERTIES, Message, Properties5
from broker.publisher import from_outbox
from broker.topics import Topics
from engine.images import ImageLimits
from schemas.frame import FrameOptions, Priority
from schemas.job import ErrorDetail, Job, JobStatus
from schemas.outbox import Channel, OutboxMessage
from service.cameras import Cameras
from service.delivery.deliver import Deliver
from service.delivery.documents import Rejection
from service.http.urls import AllowedHosts, UrlPolicy
from service.intake.intake import Checks, Intake
from service.queue.heap import JobHeap
from service.queue.job_queue import JobQueue
from service.settings import FrameSettings, Settings
from service.statistics import Statistics
from service.store.store import Store
from service.store.tables import frames, jobs, outbox
from tests.support.factories import NOON, make_image
from tests.support.fakes import FakeClock
from tests.support.stages import Nobody, receiving

IMAGE = make_image(size=(16, 16))
BASE64 = base64.b64encode(IMAGE).decode()


class Inbox:
    def __init__(self) -> None:
        self.inbox: asyncio.Queue[Message] = asyncio.Queue()
        self.num_open = 0
        self.is_empty = asyncio.Event()

    def put(self, message: Message) -> None:
        self.num_open += 1
        self.is_empty.clear()
        self.inbox.put_nowait(message)

    def acknowledge(self, message: Message) -> bool:
        return True

    def release(self, message: Message) -> None:
        self.num_open -= 1
        if not self.num_open:
            self.is_empty.set()


class Open:
    def accepts(self, priority: Priority) -> bool:
        return True


async def never(job: Job) -> None:
    """Its image is not fetched."""


class Recording(Deliver):
    """Remembers what intake decided."""

    def __post_init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self.jobs: list[Job] = []
        self.rejections: list[Rejection] = []

    async def accept(
        self, jobs: Sequence[Job], images: Mapping[str, bytes], rejections: Sequence[Rejection]
    ) -> None:
        self.jobs += jobs
        self.rejections += rejections
        await super().accept(jobs, images, rejections)


@dataclass
class Bench:
    """Intake on a real store; every job leaves it before the next example."""

    url: str
    max_age: float = 300.0  # of frames that do not say it
    inbox: Inbox = field(default_factory=Inbox)
    num_accepted: int = 0
    num_refused: int = 0

    async def open(self, stack: AsyncExitStack) -> None:
        config = Settings.model_validate(
            {
                "webhooks": {"allow_hosts": ["*"]},
                "fetch": {"allow_hosts": ["*"]},
                "dedupe": {"window": 0},
            }
        )
        queue = config.queue.model_copy(update={"max_age": self.max_age})
        config = config.model_copy(update={"queue": queue})  # past its validator
        clock, statistics, topics = FakeClock(NOON), Statistics(), Topics("home")
        self.store = await stack.enter_async_context(Store.open(self.url, clock=clock))
        cameras = Cameras(config, topics, self.store, Nobody(), clock)
        self.deliver = Recording(self.store, topics, Nobody(), statistics, clock, cameras)
        self.deliver.forget()
        waiting = JobQueue(JobHeap(1000, "oldest", 60.0), self.store, self.deliver, clock)
        hosts = AllowedHosts(["*"], "allow_hosts")
        intake = Intake(
            self.store,
            self.deliver,
            waiting,
            never,
            cameras,
            Checks(UrlPolicy(hosts, hosts), ImageLimits(**FrameSettings().model_dump())),
            Open(),
            config,
        )
        self.intake = await stack.enter_async_context(receiving(self.inbox, intake, config, topics))

    async def take(self, messages: Sequence[Message]) -> None:
        """Let intake decide about messages."""
        self.deliver.forget()
        for message in messages:
            self.inbox.put(message)
        async with asyncio.timeout(30):
            waiting = asyncio.create_task(self.inbox.is_empty.wait())
            await asyncio.wait({waiting, self.intake}, return_when=asyncio.FIRST_COMPLETED)
        assert not self.intake.done(), self.intake.exception()

    async def check(self, messages: Sequence[Message], reason: str) -> None:
        """Take messages in, and hold all that is stored of them against what was decided."""
        await self.store._database.write(_empty)  # an example that failed leaves its jobs
        await self.take(messages)
        # How long it has waited is the clock's, and not in what is stored of it.
        jobs = {
            job.key: job.model_copy(update={"arrived_monotonic": None}) for job in self.deliver.jobs
        }
        self.num_accepted += len(jobs)
        self.num_refused += len(self.deliver.rejections)
        assert "internal" not in {each.error.code for each in self.deliver.rejections}
        assert await self.store.existing(list(jobs)) == jobs
        recovered = await self.store.recover()
        # What is recovered has its age on this process's clock besides.
        plain = [job.model_copy(update={"arrived_monotonic": None}) for job in recovered]
        assert {job.key: job for job in plain} == jobs
        error = ErrorDetail(code="engine", message=reason)
        ended = await self.deliver.end(recovered, JobStatus.FAILED, error)
        assert {job.key: job for job in ended} == await self.store.existing(list(jobs))
        await self._check_outbox()
        assert self.store.unreadable.is_empty

    async def _check_outbox(self) -> None:
        for channel in Channel:
            waiting = await self.store.outbox.oldest(channel, None, 10_000)
            rows = await self.store.outbox.get([message_id for message_id, _ in waiting])
            assert len(rows) == await self.store.outbox.pending_count(channel)
            for row in rows:
                assert OutboxMessage.model_validate_json(row.model_dump_json()) == row
                if channel is Channel.MQTT:
                    from_outbox(row)
            await self.store.outbox.sent([row.row_id for row in rows])


def _empty(connection: Connection) -> None:
    for table in (frames, jobs, outbox):
        connection.execute(delete(table))


# Every character there is: NUL, lone surrogates and what no font has.
characters = st.characters(exclude_categories=())
texts = st.text(characters, max_size=30) | st.sampled_from(
    [
        "\0",
        "\ud800",
        "a\udfff",
        "\x85 ",
        "\U0010ffff",
        "\U0001d54f" * 100,
        "x" * 2001,
        " ",
        "caf\u0301e",
    ]
)
numbers = (
    st.integers()
    | st.sampled_from([2**53 + 1, 2**63, -(2**63), 2**64, 10**400, -(10**30)])
    | st.floats()
)
times = (
    st.datetimes(timezones=st.none() | st.timezones()).map(lambda moment: moment.isoformat())
    | numbers
    | st.sampled_from(
        [
            "0001-01-01T00:00:00+23:59",
            "9999-12-31T23:59:59.999999-23:59",
            "0001-01-01T00:00:00",
            "9999-12-31T23:59:59.999999",
            "2026-01-01T12:00:00Z",
            "2026-02-30T12:00:00Z",
            "2026-01-01T12:00:00",
            "1969-12-31T23:59:59.999999+00:00",
            "2026-06-30T23:59:60Z",
        ]
    )
)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
choices = st.fixed_dictionaries(
    {
        "question": texts | st.just("Is it?"),
        "choices": st.lists(texts | st.sampled_from(["yes", "no"]), max_size=4)
        | st.lists(st.text(max_size=8), min_size=2, max_size=16, unique=True)
        | values,
    }
)
tasks = st.lists(
    st.just("caption")
    | st.fixed_dictionaries({"choose": choices | values})
    | st.dictionaries(st.sampled_from(["query", "detect", "point"]), texts, min_size=1, max_size=2)
    | st.fixed_dictionaries(
        {"kind": st.sampled_from(["query", "caption"])}, optional={"text": texts}
    )
    | values,
    max_size=4,
)
addresses = texts | texts.map(lambda text: f"http://example.com/{text}") | st.just("http://a")
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "motion_intensity": st.floats(0, 1) | numbers,
    "priority": st.sampled_from(["critical", "background", "urgent"]) | values,
    "timestamp": times,
    "location": texts,
    "metadata": st.dictionaries(texts, values, max_size=5),
    "prompt": texts,
    "length": st.sampled_from(["short", "long"]) | texts,
    "tasks": tasks,
    "webhook_url": addresses,
    "webhook_headers": st.dictionaries(texts | st.just("X-A"), texts, max_size=3),
    "max_age": st.floats(0, 7 * 86400) | numbers,
    "max_attempts": st.integers(1, 10) | numbers,
}
#: Mostly sensible, with one or two that need not be: who is always refused proves nothing.
fields = st.dictionaries(st.sampled_from(sorted(FIELDS)), st.just(None), max_size=3).flatmap(
    lambda names: st.fixed_dictionaries({name: FIELDS[name] for name in names})
)
topics = texts.map(lambda text: f"home/response/{text}") | texts | st.none()


def make_message(
    payload: bytes, camera_id: str = "front", properties: Properties5 = NO_PROPERTIES
) -> Message:
    return Message(
        topic=f"home/{camera_id}/frame",
        payload=payload,
        qos=1,
        retain=False,
        dup=False,
        generation=1,
        mid=1,
        arrived_at=NOON,
        arrived_monotonic=1000.0,
        properties=properties,
    )


@st.composite
def messages(draw: st.DrawFn) -> Message:
    found = draw(fields)
    source = draw(st.sampled_from(["data", "url", "binary"]))
    user: tuple[tuple[str, str], ...] = ()
    payload = IMAGE
    if source == "binary":
        user = tuple(
            (name, value if isinstance(value, str) else json.dumps(value))
            for name, value in found.items()
        )
    else:
        image = {"frame_data": BASE64} if source == "data" else {"frame_url": draw(addresses)}
        text = json.dumps({**found, **image}, ensure_ascii=draw(st.booleans()))
        payload = text.encode("utf-8", "surrogatepass")
    properties = Properties5(
        user=user,
        response_topic=draw(topics),
        correlation_data=draw(st.none() | st.binary(max_size=40)),
        message_expiry=draw(st.none() | st.integers(0, 2**32 - 1)),
    )
    return make_message(payload, draw(st.sampled_from(["front", "a" * 64, "-"])), properties)


@pytest.mark.both_databases
def test_what_is_accepted_is_read_back_equal(store_url: str) -> None:
    assert set(FIELDS) == set(FrameOptions.model_fields) - {"camera_id", "job_id"}
    bench = Bench(store_url)
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        runner.run(bench.open(stack))
        try:

            @settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
            @given(st.lists(messages(), min_size=1, max_size=5), texts)
            def check(found: list[Message], reason: str) -> None:
                runner.run(bench.check(found, reason))

            check()
            assert bench.num_accepted > 50 < bench.num_refused  # or it has proven nothing
        finally:
            runner.run(stack.aclose())


async def test_frame_that_no_job_can_be_made_of_is_refused_alone(store_url: str) -> None:
    bench = Bench(store_url, max_age=math.inf)
    async with AsyncExitStack() as stack:
        await bench.open(stack)
        good = {"frame_data": BASE64, "job_id": "good", "max_age": 60}
        await bench.take([make_message(IMAGE), make_message(json.dumps(good).encode())])
        assert [job.job_id for job in bench.deliver.jobs] == ["good"]
        [refused] = bench.deliver.rejections
        assert (refused.error.code, refused.size) == ("internal", len(IMAGE))
        assert [job.job_id for job in await bench.store.recover()] == ["good"]
