"""What is described of what Frigate says: on a real store, with pictures that a test orders."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from schemas.frame import Priority
from schemas.frigate import Severity, Subject
from schemas.job import Job, JobStatus
from service.delivery.documents import Rejection
from service.errors import FrigateAccessError, FrigateUnknownError, HostError
from service.frigate_settings import FrigateSettings
from service.intake.submission import Accepted, Outcome, Submission
from service.sources.frigate.events import Events
from service.sources.frigate.follow import Follower
from service.sources.frigate.moments import SETTLE_S, UPDATE_EVERY_S
from service.sources.frigate.submissions import Submissions
from service.sources.names import Names
from service.store.store import Store
from tests.support.factories import NOON, make_image, make_job
from tests.support.fakes import FakeClock
from tests.support.frigate_messages import DETECT

IMAGE = make_image(size=(32, 32))
ALERT = Severity.ALERT


class Pictures:
    """What Frigate answers, by event; the default is a picture."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes | Exception] = {}
        self.asked: list[str] = []
        self.most_at_once = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self._num_now = 0

    async def snapshot(self, event_id: str, *, crop: bool) -> bytes:
        self.asked.append(event_id)
        self._num_now += 1
        self.most_at_once = max(self.most_at_once, self._num_now)
        try:
            await self.gate.wait()
        finally:
            self._num_now -= 1
        answer = self.answers.get(event_id, IMAGE)
        if isinstance(answer, Exception):
            raise answer
        return answer


@dataclass
class Bench:
    clock: FakeClock
    pictures: Pictures
    events: Events
    follower: Follower
    taken: list[Submission | Rejection] = field(default_factory=list)
    superseded: list[tuple[str, str]] = field(default_factory=list)

    async def submit(self, items: Sequence[Submission | Rejection]) -> list[Outcome]:
        self.taken += items
        return [each if isinstance(each, Rejection) else Accepted(self.job(each)) for each in items]

    def job(self, submission: Submission, status: JobStatus = JobStatus.QUEUED) -> Job:
        return make_job(
            job_id=submission.options.job_id,
            camera_id=submission.camera_id,
            status=status,
            frigate=submission.frigate,
        )

    async def supersede(self, key: str, newer: Job) -> None:
        self.superseded.append((key, newer.key))

    async def look(self, after_s: float = 0.0) -> None:
        """Let time pass, and do what is due."""
        self.clock.advance(after_s)
        async with asyncio.TaskGroup() as tasks:
            self.follower.look(tasks)

    def end(self, submission: Submission | Rejection) -> None:
        """Let the job of a frame end."""
        assert isinstance(submission, Submission)
        self.follower.on_end(self.job(submission, JobStatus.COMPLETED))

    @property
    def frames(self) -> list[Submission]:
        return [each for each in self.taken if isinstance(each, Submission)]


@asynccontextmanager
async def bench(folder: Path, clock: FakeClock, **settings: Any) -> AsyncIterator[Bench]:
    wanted = FrigateSettings.model_validate({"enabled": True, **settings})
    async with Store.open(folder / "jobs.sqlite3", clock=clock) as store:
        events, pictures = Events(store.frigate, clock), Pictures()
        submissions = Submissions(wanted, events.reviews, Names(lambda _: None), clock)
        submissions.detect_sizes = {"yard": DETECT}
        made: Bench

        async def submit(items: Sequence[Submission | Rejection]) -> list[Outcome]:
            return await made.submit(items)

        async def supersede(key: str, newer: Job) -> None:
            await made.supersede(key, newer)

        follower = Follower(events, pictures, submit, supersede, submissions, wanted, clock)
        made = Bench(clock, pictures, events, follower)
        await follower.recover(store.existing)
        yield made
        await events.flush()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOON)


def subject(number: int = 1, **said: Any) -> Subject:
    return Subject(id=f"1700000000.{number}-abc", camera="yard", **{"label": "person", **said})


async def test_alert_is_described_early_and_at_its_end(tmp_path: Path, clock: FakeClock) -> None:
    async with bench(tmp_path, clock) as at:
        at.events.hear(subject())
        await at.look()
        assert at.taken == []
        at.events.hear(subject(severity=ALERT))
        await at.look()
        await at.look(60)
        [early] = at.frames
        assert early.options.job_id == "1700000000_1-abc-1"
        assert early.options.priority is Priority.CRITICAL
        assert early.frigate is not None
        assert not early.frigate.is_final
        assert not early.frigate.write_back
        at.end(early)
        at.events.hear(subject(severity=ALERT, is_ended=True))
        await at.look()
        assert len(at.taken) == 1  # Frigate writes its last picture after it said the end
        await at.look(SETTLE_S)
        await at.look(60)
        [_, last] = at.frames
        assert last.options.job_id == "1700000000_1-abc-final"
        assert last.options.priority is Priority.HIGH
        assert last.frigate is not None
        assert last.frigate.event_id == "1700000000.1-abc"
        assert last.frigate.is_final
        assert last.frigate.write_back
        assert at.superseded == []


async def test_last_description_takes_the_place_of_an_early_one_that_waits(
    tmp_path: Path, clock: FakeClock
) -> None:
    async with bench(tmp_path, clock) as at:
        at.events.hear(subject(severity=ALERT))
        await at.look()
        at.events.hear(subject(severity=ALERT, is_ended=True))
        await at.look(SETTLE_S)
        final = "yard/1700000000_1-abc-final"
        assert at.superseded == [("yard/1700000000_1-abc-1", final)]


async def test_updates_wait_for_the_one_before(tmp_path: Path, clock: FakeClock) -> None:
    async with bench(tmp_path, clock, describe_updates=True) as at:
        for frame_time in range(100):
            at.events.hear(subject(frame_time=float(frame_time)))
            await at.look(1)
        assert len(at.frames) == 1
        at.end(at.frames[0])
        await at.look()
        assert len(at.frames) == 2
        at.end(at.frames[1])
        at.events.hear(subject(frame_time=1000.0))
        await at.look(UPDATE_EVERY_S - 1)
        assert len(at.frames) == 2
        await at.look(1)
        assert [each.options.job_id for each in at.frames] == [
            f"1700000000_1-abc-{number}" for number in (1, 2, 3)
        ]


async def test_what_is_known_of_it_is_in_the_metadata(tmp_path: Path, clock: FakeClock) -> None:
    async with bench(tmp_path, clock) as at:
        said = subject(
            is_ended=True,
            sub_label="Ada",
            zones=("porch",),
            score=0.9,
            severity=ALERT,
            frame_time=1700000004.0,
            box=(320.0, 180.0, 640.0, 800.0),
        )
        at.events.hear(said)
        await at.look(SETTLE_S)
        [frame] = at.frames
        assert frame.options.metadata["frigate"] == {
            "event_id": said.id,
            "review_id": None,
            "moment": "final",
            "label": "person",
            "sub_label": "Ada",
            "zones": ["porch"],
            "severity": "alert",
            "score": 0.9,
            "box": {"x_min": 0.25, "y_min": 0.25, "x_max": 0.5, "y_max": 1.0},
        }
        assert frame.options.timestamp is not None
        assert frame.options.timestamp.timestamp() == 1700000004.0


async def test_review_is_described_by_its_first_object(tmp_path: Path, clock: FakeClock) -> None:
    async with bench(tmp_path, clock) as at:
        detections = ("1700000000.7-abc", "1700000000.8-abc")
        said = subject(kind="review", detections=detections, is_ended=True)
        at.events.hear(said)
        await at.look(SETTLE_S)
        [frame] = at.frames
        assert at.pictures.asked == ["1700000000.7-abc"]
        assert frame.options.job_id == "r-1700000000_1-abc-final"
        assert frame.options.metadata["frigate"]["review_id"] == said.id


async def test_event_knows_its_review(tmp_path: Path, clock: FakeClock) -> None:
    async with bench(tmp_path, clock) as at:
        said = subject(is_ended=True)
        at.events.hear(said)
        review = Subject(id="1.9-rev", kind="review", camera="yard", detections=(said.id,))
        at.events.hear(review)
        await at.look(SETTLE_S)
        [frame] = at.frames
        assert frame.options.metadata["frigate"]["review_id"] == "1.9-rev"


async def test_review_of_nothing_to_see_is_let_go(tmp_path: Path, clock: FakeClock) -> None:
    async with bench(tmp_path, clock) as at:
        at.events.hear(subject(kind="review", is_ended=True))
        await at.look(SETTLE_S)
        assert (at.taken, list(at.events.open)) == ([], [])


async def test_camera_is_renamed_by_setting(tmp_path: Path, clock: FakeClock) -> None:
    cameras = {"yard": {"camera": "garden"}}
    async with bench(tmp_path, clock, cameras=cameras) as at:
        at.events.hear(subject(is_ended=True))
        await at.look(SETTLE_S)
        assert at.frames[0].camera_id == "garden"


async def test_camera_of_a_foreign_name_becomes_one_and_says_so(
    tmp_path: Path, clock: FakeClock
) -> None:
    async with bench(tmp_path, clock) as at:
        for number, name in enumerate(("Vorgarten süd", "Vorgarten_süd")):
            at.events.hear(Subject(id=f"1.{number}-a", camera=name, is_ended=True))
        await at.look(SETTLE_S)
        first, second = sorted(at.frames, key=lambda each: each.options.job_id or "")
        assert (first.camera_id, first.location) == ("Vorgarten_s_d", "Vorgarten süd")
        assert second.camera_id.startswith("Vorgarten_s_d_")


async def test_camera_named_by_hand_keeps_the_operators_name(
    tmp_path: Path, clock: FakeClock
) -> None:
    cameras = {"Vorgarten süd": {"camera": "garden"}}
    async with bench(tmp_path, clock, cameras=cameras) as at:
        at.events.hear(Subject(id="1.1-a", camera="Vorgarten süd", is_ended=True))
        await at.look(SETTLE_S)
        assert [(each.camera_id, each.location) for each in at.frames] == [("garden", None)]


async def test_picture_that_comes_late_is_waited_for(tmp_path: Path, clock: FakeClock) -> None:
    async with bench(tmp_path, clock) as at:
        said = subject(is_ended=True)
        at.pictures.answers[said.id] = FrigateUnknownError("there is none")
        at.events.hear(said)
        await at.look(SETTLE_S)
        await at.look(0.9)
        assert len(at.pictures.asked) == 1
        await at.look(0.1)
        assert len(at.pictures.asked) == 2
        del at.pictures.answers[said.id]
        await at.look(10)
        assert len(at.frames) == 1


@pytest.mark.parametrize(
    ("answer", "gives_up_after_s"),
    [
        (FrigateUnknownError("there is none"), 60),
        (b"<html>login</html>", 60),
        (b"", 60),
        (HostError("http://frigate:5000: refused"), 3600),
        (FrigateAccessError("the password has changed"), 3600),
    ],
    ids=["404", "html", "empty", "away", "login"],
)
async def test_picture_that_never_comes_is_a_rejected_frame(
    tmp_path: Path, clock: FakeClock, answer: bytes | Exception, gives_up_after_s: float
) -> None:
    async with bench(tmp_path, clock) as at:
        said = subject(is_ended=True)
        at.pictures.answers[said.id] = answer
        at.events.hear(said)
        began = clock.monotonic()
        while not at.taken:
            await at.look(1)
            assert clock.monotonic() - began < gives_up_after_s + 70
        assert clock.monotonic() - began >= gives_up_after_s
        [refused] = at.taken
        assert isinstance(refused, Rejection)
        assert (refused.camera_id, refused.error.code) == ("yard", "fetch_failed")
        assert refused.job_id == "1700000000_1-abc-final"
        assert list(at.events.open) == []


async def test_early_picture_that_never_comes_is_left_to_the_end(
    tmp_path: Path, clock: FakeClock
) -> None:
    async with bench(tmp_path, clock) as at:
        said = subject(severity=ALERT)
        at.pictures.answers[said.id] = FrigateUnknownError("not yet")
        at.events.hear(said)
        for _ in range(200):
            await at.look(1)
        assert len(at.pictures.asked) == 5
        assert at.taken == []
        del at.pictures.answers[said.id]
        at.events.hear(subject(severity=ALERT, is_ended=True))
        await at.look(SETTLE_S)
        assert len(at.frames) == 1


async def test_while_frigate_is_away_it_is_asked_for_one_thing_at_a_time(
    tmp_path: Path, clock: FakeClock
) -> None:
    async with bench(tmp_path, clock) as at:
        for number in range(50):
            said = subject(number, is_ended=True)
            at.pictures.answers[said.id] = HostError("http://frigate:5000: refused")
            at.events.hear(said)
        await at.look(SETTLE_S)
        assert len(at.pictures.asked) == 4
        at.pictures.asked.clear()
        for _ in range(120):
            await at.look(1)
        assert len(at.pictures.asked) < 20
        at.pictures.answers.clear()
        at.follower.awake()
        for _ in range(100):
            await at.look(1)
        assert len({each.options.job_id for each in at.frames}) == len(at.frames) == 50


async def test_slow_pictures_bound_how_many_are_fetched_and_the_urgent_come_first(
    tmp_path: Path, clock: FakeClock
) -> None:
    async with bench(tmp_path, clock) as at:
        at.pictures.gate.clear()
        for number in range(20):
            at.events.hear(subject(number, label="cat", is_ended=True))
        at.events.hear(subject(99, severity=ALERT, is_ended=True))
        clock.advance(SETTLE_S)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(5):
                at.follower.look(tasks)
                await asyncio.sleep(0)
            assert len(at.pictures.asked) == 4
            assert at.pictures.asked[0] == subject(99).id
            at.pictures.gate.set()


async def test_one_that_breaks_is_set_aside_and_the_others_go_on(
    tmp_path: Path, clock: FakeClock
) -> None:
    async with bench(tmp_path, clock) as at:
        at.pictures.answers[subject(1).id] = RuntimeError("s3cret")
        for number in (1, 2):
            at.events.hear(subject(number, is_ended=True))
        for _ in range(100):
            await at.look(1)
        assert [each.options.job_id for each in at.frames] == ["1700000000_2-abc-final"]
        assert list(at.events.open) == []


async def test_restart_goes_on_where_it_ended(tmp_path: Path, clock: FakeClock) -> None:
    async with bench(tmp_path, clock) as at:
        at.events.hear(subject(1, severity=ALERT))
        at.events.hear(subject(2))
        await at.look()
        at.events.hear(subject(1, severity=ALERT, is_ended=True))
    clock.advance(5)
    async with bench(tmp_path, clock) as at:
        await at.look()
        assert [each.options.job_id for each in at.frames] == ["1700000000_1-abc-final"]
        at.events.hear(subject(2, is_ended=True))
        await at.look(SETTLE_S)
        assert len(at.frames) == 2


async def test_restart_knows_the_job_that_waits(tmp_path: Path, clock: FakeClock) -> None:
    async with bench(tmp_path, clock) as at:
        at.events.hear(subject(severity=ALERT))
        await at.look()
        early = at.job(at.frames[0])
    async with Store.open(tmp_path / "jobs.sqlite3", clock=clock) as store:
        await store.accept([early], {early.key: IMAGE})
    async with bench(tmp_path, clock, describe_updates=True) as at:
        at.events.hear(subject(severity=ALERT, frame_time=1.0))
        await at.look(60)
        assert at.taken == []
        at.follower.on_end(early)
        await at.look()
        assert len(at.frames) == 1
