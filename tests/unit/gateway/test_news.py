"""The ring of events and its readers."""

import asyncio
from collections.abc import Sequence

import pytest

from gateway.news import News, Reader, Said, Which
from gateway.problems import Problem

ALL = Which()


class Quiet:
    """Nothing has been before, but what a test says."""

    def __init__(self, before: Sequence[Said] = ()) -> None:
        self.before = before
        self.num_states = 0

    def state(self) -> bytes:
        self.num_states += 1
        return b'{"cameras":[]}'

    async def of_job(self, job_id: str, camera_id: str | None) -> Sequence[Said]:
        return self.before

    async def of_batch(self, batch_id: str) -> Sequence[Said]:
        return self.before


def status(job_id: str = "job", camera_id: str = "front", *, is_last: bool = False) -> Said:
    return Said("status", f'"{job_id}"'.encode(), camera_id, job_id, is_last=is_last)


async def heard(reader: Reader, silence_s: float = 0.2) -> bytes | None:
    """What comes until it is quiet."""
    found = b""
    while (piece := await reader.next(silence_s)) != b":\n\n":
        if piece is None:
            return found or None
        found += piece
    return found


def kinds(wire: bytes | None) -> list[str]:
    lines = (wire or b"").decode().splitlines()
    return [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]


def last_id(wire: bytes) -> str:
    return [line[4:] for line in wire.decode().splitlines() if line.startswith("id: ")][-1]


def fail() -> None:
    raise AssertionError("dropped")


async def test_a_reader_begins_with_the_state_and_hears_what_comes() -> None:
    news = News(Quiet())
    with news.reader(ALL, fail) as reader:
        begin = await reader.begin(None)
        news.tell(status())

        assert begin.startswith(b"retry: 3000\n\nid: ")
        assert kinds(begin) == ["state"]
        assert kinds(await heard(reader)) == ["status"]


async def test_the_state_is_written_once_for_readers_that_come_together() -> None:
    happenings = Quiet()
    news = News(happenings)
    for _ in range(50):
        with news.reader(ALL, fail) as reader:
            await reader.begin(None)
            news.tell(status())

            assert kinds(await reader.next(1)).count("status") >= 1  # also what came since

    assert happenings.num_states == 1


async def test_who_comes_back_hears_what_was_missed_and_no_state() -> None:
    news = News(Quiet())
    with news.reader(ALL, fail) as reader:
        seen = last_id(await reader.begin(None))
    news.tell(status("a"))
    news.tell(status("b"))
    with news.reader(ALL, fail) as reader:
        begin = await reader.begin(seen)

        assert kinds(begin) == []
        assert kinds(await reader.next(1)) == ["status", "status"]


@pytest.mark.parametrize(
    "event_id", ["", "x", "other-1", "RUN-99", "RUN--1", "RUN-²", "RUN-" + "9" * 60]
)
async def test_an_id_that_is_not_kept_begins_anew(event_id: str) -> None:
    news = News(Quiet())
    with news.reader(ALL, fail) as reader:
        run = last_id(await reader.begin(None)).partition("-")[0]
    with news.reader(ALL, fail) as reader:
        assert kinds(await reader.begin(event_id.replace("RUN", run))) == ["state"]


async def test_an_id_older_than_the_ring_begins_anew() -> None:
    news = News(Quiet(), most_events=3)
    with news.reader(ALL, fail) as reader:
        seen = last_id(await reader.begin(None))
    for _ in range(5):
        news.tell(status())
    with news.reader(ALL, fail) as reader:
        assert kinds(await reader.begin(seen)) == ["state"]


async def test_the_ring_is_bounded_in_number_and_bytes() -> None:
    news = News(Quiet(), most_events=10, most_bytes=10_000)
    for _ in range(100):
        news.tell(Said("log", b"x" * 900))

    assert news.num_bytes <= 10_000
    assert news.last - news.first + 1 <= 10


async def test_a_reader_that_has_fallen_behind_is_dropped_and_others_go_on() -> None:
    news = News(Quiet(), most_events=10)
    dropped: list[bool] = []
    with (
        news.reader(ALL, lambda: dropped.append(True)) as slow,
        news.reader(ALL, fail) as quick,
    ):
        for _ in range(20):
            news.tell(status())
            await quick.next(1)
        await asyncio.sleep(0.05)

        assert dropped == [True]
        assert await slow.next(1) is None


async def test_a_slow_reader_hears_the_newest_statistics_only() -> None:
    news = News(Quiet())
    with news.reader(ALL, fail) as reader:
        for number in range(5):
            news.tell(Said("stats", str(number).encode()))
            news.tell(status())
        wire = await reader.next(1)

    assert kinds(wire) == ["status"] * 4 + ["stats", "status"]
    assert b"data: 4\n" in (wire or b"")


async def test_a_filter_lets_only_what_is_meant_through() -> None:
    news = News(Quiet())
    which = Which(frozenset({"status"}), camera_id="front", with_state=False)
    with news.reader(which, fail) as reader:
        assert kinds(await reader.begin(None)) == []
        news.tell(status(camera_id="back"))
        news.tell(Said("result", b"{}", "front", "job"))
        news.tell(Said("stats", b"{}"))
        news.tell(status("wanted"))
        wire = await heard(reader)

    assert kinds(wire) == ["status"]
    assert b'"wanted"' in (wire or b"")


async def test_a_jobs_stream_ends_after_its_end() -> None:
    news = News(Quiet())
    which = Which(job_id="job", with_state=False)
    with news.reader(which, fail) as reader:
        await reader.begin(None)
        news.tell(status())
        news.tell(status("other", is_last=True))
        news.tell(Said("result", b"{}", "front", "job", is_last=True))
        news.tell(status())

        assert kinds(await reader.next(1))[:2] == ["status", "result"]
        assert await reader.next(1) is None


async def test_the_stream_of_a_job_that_has_ended_says_so_and_ends() -> None:
    news = News(Quiet([status(is_last=True)]))
    with news.reader(Which(job_id="job", with_state=False), fail) as reader:
        assert kinds(await reader.begin(None)) == ["status"]
        assert await reader.next(1) is None


async def test_too_many_readers_are_told_to_come_later() -> None:
    news = News(Quiet(), most_readers=1)
    with news.reader(ALL, fail), pytest.raises(Problem) as problem, news.reader(ALL, fail):
        pass

    assert problem.value.status == 429
    with news.reader(ALL, fail):
        assert len(news) == 1


async def test_closing_ends_every_reader() -> None:
    news = News(Quiet())
    with news.reader(ALL, fail) as reader:
        waiting = asyncio.create_task(reader.next(30))
        await asyncio.sleep(0)
        news.close()

        assert await waiting is None
