"""Search in captions: what is found, in which order, and what happens to the index."""

import asyncio
import itertools
import logging
import random
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, Engine, event, text

from schemas.frame import Priority
from schemas.job import Job, JobStatus
from schemas.result import Answer, ModelInfo, Result, ResultDocument
from service.errors import StoreError
from service.store.captions import CaptionQuery
from service.store.database import Database
from service.store.rows import to_microseconds
from service.store.search_terms import terms_of
from service.store.store import Ending, Store
from tests.support.factories import NOON, make_job

pytestmark = pytest.mark.both_databases

_NUMBERS = itertools.count()
INFO = ModelInfo(
    model="m", revision="r", device="cpu", camera_id="front", motion_intensity=0.5,
    priority=Priority.NORMAL,
)  # fmt: skip


def document(job: Job, caption: str, at: datetime, answers: tuple[str, ...] = ()) -> ResultDocument:
    said = tuple(Answer(question="?", answer=each, confidence=1) for each in answers)
    result = Result(
        caption=caption, short_caption=caption, confidence=1, answers=said, processing_time=1,
        queue_time=1, model_info=INFO,
    )  # fmt: skip
    return ResultDocument(
        job_id=job.job_id, camera_id=job.camera_id, status=JobStatus.COMPLETED, result=result,
        error_message=None, timestamp=at, location=None, metadata={},
    )  # fmt: skip


async def caption(
    store: Store,
    said: str,
    camera_id: str = "front",
    at: datetime = NOON,
    answers: tuple[str, ...] = (),
) -> Job:
    job = make_job(job_id=f"job-{next(_NUMBERS)}", camera_id=camera_id, received_at=at)
    await store.accept([job], {job.key: b"image"})
    await store.start([job.key], at)
    result = document(job, said, at, answers)
    assert await store.finish(job.key, JobStatus.COMPLETED, at=at, result=result)
    return job


async def find(
    store: Store,
    words: str | None = None,
    camera_id: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    before: int | None = None,
    limit: int = 50,
) -> list[str]:
    """The captions found."""
    terms = None if words is None else terms_of(words)
    times = [None if each is None else to_microseconds(each) for each in (since, until)]
    query = CaptionQuery(terms, camera_id, times[0], times[1], before, limit)
    found = await store.search_captions(query)
    assert found.is_indexed
    return [each.document.result.caption for each in found.items if each.document.result]


async def test_words_phrases_and_beginnings_are_found(store: Store) -> None:
    await caption(store, "A red car stands before the door.")
    await caption(store, "A car before a red door")
    await caption(store, "Eine Tür, geöffnet", answers=("Yes, a dog",))

    assert len(await find(store, "red car")) == 2
    assert await find(store, '"red car"') == ["A red car stands before the door."]
    assert len(await find(store, "doo*")) == 2
    assert await find(store, "do") == []
    assert await find(store, "tur GEOFFNET") == ["Eine Tür, geöffnet"]
    assert await find(store, '"a do*"') == ["Eine Tür, geöffnet"]
    assert await find(store, "car dog") == []
    assert await find(store, "!!!") == []


async def test_long_searches_find_what_the_texts_hold(store: Store) -> None:
    rng = random.Random(3)
    common, seldom = ["a", "the", "is", "near"], [f"thing{number}" for number in range(12)]
    texts = [
        " ".join(rng.choice(common if rng.random() < 0.7 else seldom) for _ in range(40))
        for _ in range(300)
    ]
    jobs = [make_job(job_id=f"job-{i}", camera_id=f"camera-{i % 2}") for i in range(300)]
    await store.accept(jobs, {job.key: b"image" for job in jobs})
    await store.start([job.key for job in jobs], NOON)
    endings = []
    for i, (job, said) in enumerate(zip(jobs, texts, strict=True)):
        at = NOON + timedelta(seconds=i)
        result = document(job, said, at)
        endings.append(Ending(job.key, JobStatus.COMPLETED, at, result=result))
    await store.finish_many(endings)

    num_found = 0
    for _ in range(40):
        words = rng.choice(texts).split()
        start, length = rng.randrange(30), rng.randrange(2, 6)
        phrase = " ".join(words[start : start + length])
        others = rng.sample(words, 3)
        cut = phrase[: rng.randrange(len(phrase) - 3, len(phrase) + 1)].strip()
        camera = rng.choice([None, 0])
        held = [f" {cut}", *(f" {word} " for word in others)]
        expected = [
            said
            for i, said in enumerate(texts)
            if all(each in f" {said} " for each in held) and camera in {None, i % 2}
        ]
        query = f'"{cut}*" {" ".join(others)}'
        found = await find(store, query, None if camera is None else "camera-0", limit=300)
        assert found == expected[::-1], query
        num_found += len(found)
    assert num_found > 100


async def test_the_newest_comes_first_and_pages_follow_each_other(store: Store) -> None:
    for number in range(5):
        await caption(store, f"frame {number}", at=NOON + timedelta(seconds=number))
    await caption(store, "late but older frame", at=NOON - timedelta(days=1))
    seen, before = [], None
    for _ in range(3):
        query = CaptionQuery(terms_of("frame"), None, None, None, before, 2)
        page = await store.search_captions(query)
        seen += [each.document.timestamp for each in page.items]
        before = page.next_before

    assert seen == sorted(seen, reverse=True)
    assert len(seen) == 6
    assert before is None


async def test_many_that_end_together_are_looked_up_at_once(store: Store) -> None:
    jobs = [make_job() for _ in range(16)]
    await store.accept(jobs, {})
    await store.start([job.key for job in jobs], NOON)
    endings = []
    for i, job in enumerate(jobs):
        at = NOON + timedelta(seconds=i)
        endings.append(Ending(job.key, JobStatus.COMPLETED, at, result=document(job, "twin", at)))
    asked: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        asked.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        await store.finish_many(endings)
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert len([each for each in asked if "FROM captions" in each]) == 1
    assert len(await find(store, "twin")) == 16


async def test_many_that_end_in_one_moment_are_all_found(store: Store) -> None:
    for _ in range(20):
        await caption(store, "twin")

    assert len(await find(store, "twin")) == 20


async def test_cameras_and_times_narrow_it_with_and_without_words(store: Store) -> None:
    hour = timedelta(hours=1)
    for number, camera_id in enumerate(["front", "back", "front-2", "front"]):
        await caption(store, f"frame {number}", camera_id, NOON + number * hour)

    for words in ("frame", None):
        assert await find(store, words, "front") == ["frame 3", "frame 0"]
        assert await find(store, words, "other") == []
        assert await find(store, words, since=NOON + hour) == ["frame 3", "frame 2", "frame 1"]
        assert await find(store, words, until=NOON + hour) == ["frame 0"]
        assert await find(store, words, "back", NOON + hour, NOON + 2 * hour) == ["frame 1"]


async def test_pictures_are_known_to_be_kept_or_gone(store: Store) -> None:
    await caption(store, "frame")
    query = CaptionQuery(None, None, None, None, None, 1)

    assert (await store.search_captions(query)).items[0].has_image
    await store.drop_finished_frames(0)
    assert not (await store.search_captions(query)).items[0].has_image


async def test_a_time_that_no_clock_shows_harms_nothing(store: Store) -> None:
    far = datetime(9999, 12, 31, tzinfo=UTC)
    await caption(store, "far", at=far)
    await caption(store, "near")

    assert await find(store, "near", since=far) == []
    assert await find(store, "near", until=far, before=10**19 - 1) == ["near"]
    assert await find(store, "near", until=datetime(1, 1, 1, tzinfo=UTC)) == []
    assert await store.delete_finished(0.0) == 2


async def test_what_retention_deletes_is_found_no_more(store: Store) -> None:
    await caption(store, "gone")
    assert await find(store, "gone")
    assert await store.delete_finished(0.0) == 1

    assert await find(store, "gone") == []
    assert await find(store) == []
    await caption(store, "kept")
    assert await find(store, "kept") == ["kept"]


async def test_the_index_is_whole_after_many_ends_and_deletes(store_url: str) -> None:
    if not store_url.startswith("sqlite"):
        pytest.skip("PostgreSQL keeps its own indexes whole")
    async with Store.open(store_url) as store:
        for number in range(60):
            await caption(store, f"frame number{number % 7} is here")
            if number % 10 == 9:
                await store.delete_finished(0.0, 8)
    async with Database(store_url) as database:
        check = "INSERT INTO caption_words (caption_words) VALUES ('integrity-check')"
        await database.write(lambda connection: connection.execute(text(check)))
        assert await database.read(_count, "SELECT count(*) FROM captions") == 12
        assert await database.read(_count, _MATCHING_FRAME) == 12


_MATCHING_FRAME = "SELECT count(*) FROM caption_words WHERE caption_words MATCH 'frame'"


async def test_captions_of_before_the_search_are_indexed_in_steps(
    store_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with Store.open(store_url) as store:
        for number in range(5):
            await caption(store, f"old {number}")
    async with Database(store_url) as database:
        await database.write(_forget_the_index)
    async with Store.open(store_url) as store:
        new = await caption(store, "new")
        query = CaptionQuery(None, None, None, None, None, 9)
        assert not (await store.search_captions(query)).is_complete
        await store.indexing.index()

        assert (await store.search_captions(query)).is_complete
        assert len(await find(store, "old")) == 5
        assert await find(store, "new") == ["new"]
        assert new.job_id
    assert "6 captions are indexed" in caplog.text


async def test_a_damaged_index_is_made_anew_and_jobs_end_all_the_same(store_url: str) -> None:
    if not store_url.startswith("sqlite"):
        pytest.skip("PostgreSQL keeps its own indexes whole")
    async with Store.open(store_url) as store:
        await caption(store, "before")
    async with Database(store_url) as database:
        damage = "UPDATE caption_words_data SET block = x'00ff00ff'"
        await database.write(lambda connection: connection.execute(text(damage)))
    async with Store.open(store_url) as store:
        with pytest.raises(StoreError):
            await caption(store, "fails once")
        await caption(store, "after")
        indexing = asyncio.create_task(store.indexing.run())
        async with asyncio.timeout(20):
            while await _is_unfinished(store):  # noqa: ASYNC110 - beside everything else
                await asyncio.sleep(0.05)
        indexing.cancel()

        assert await find(store, "before") == ["before"]
        assert await find(store, "after") == ["after"]


async def test_without_fts5_it_says_so_and_jobs_end_all_the_same(store_url: str) -> None:
    if not store_url.startswith("sqlite"):
        pytest.skip("only SQLite can be without")
    async with Database(store_url) as database:
        drop = "DROP TABLE caption_words"
        await database.write(lambda connection: connection.execute(text(drop)))
    async with Store.open(store_url) as store:
        await caption(store, "unheard")
        found = await store.search_captions(CaptionQuery(None, None, None, None, None, 9))

        assert not found.is_indexed
        assert await store.delete_finished(0.0) == 1


async def _is_unfinished(store: Store) -> bool:
    try:
        found = await store.search_captions(CaptionQuery(None, None, None, None, None, 9))
    except StoreError:
        return True
    return not found.is_complete or len(found.items) < 2


def _count(connection: Connection, query: str) -> int:
    return int(connection.scalar(text(query)) or 0)


def _forget_the_index(connection: Connection) -> None:
    """As the step to this version leaves it."""
    connection.execute(text("DELETE FROM captions"))
    connection.execute(text("INSERT INTO switches VALUES ('', 'unindexed captions')"))
    if connection.dialect.name == "sqlite":
        all_out = "INSERT INTO caption_words (caption_words) VALUES ('delete-all')"
        connection.execute(text(all_out))
