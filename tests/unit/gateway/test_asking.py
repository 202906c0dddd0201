"""What callers meet who ask about a picture: a backend that does what a test says, no service."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest
import pytest_asyncio
from fastapi import Request

import gateway.backend
from gateway.asking import Asker, frame_of
from gateway.backend import Frame, OnText
from gateway.joining import _MOST_KEPT
from gateway.problems import Problem
from schemas.result import ResultDocument
from tests.support.results import result_document
from tests.unit.gateway.apps import options

OPTIONS = options(max_image_bytes=1 << 20, max_in_flight=2, timeout_s=30.0, model_revision="1")


class Asked:
    """One job."""

    def __init__(self, frame: Frame, on_text: OnText | None) -> None:
        self.fields = frame.fields
        self.on_text = on_text
        self.end: asyncio.Future[ResultDocument] = asyncio.get_running_loop().create_future()
        self.is_cancelled = False

    def say(self, text: str) -> None:
        assert self.on_text is not None
        self.on_text(text)


class Backend:
    """Does what a test says."""

    def __init__(self) -> None:
        self.jobs: list[Asked] = []
        self.estimate_s: float | None = 7.0
        self.problem: Problem | None = None
        self.obstacle: str | None = None

    def wait_s(self, priority: str | None = None) -> float | None:
        if self.problem is not None:
            raise self.problem
        return self.estimate_s

    async def ask(
        self, frame: Frame, timeout_s: float, on_text: OnText | None = None
    ) -> ResultDocument:
        job = Asked(frame, on_text)
        del frame
        self.jobs.append(job)
        try:
            return await job.end
        except asyncio.CancelledError:
            job.is_cancelled = True
            raise

    async def call(self, operation: str, content: dict[str, Any]) -> Any:
        raise NotImplementedError

    async def submit(self, frame: Frame) -> Any:
        raise NotImplementedError


class Caller:
    """One connection; requests are made of it."""

    def __init__(self, host: str = "10.0.0.1", **headers: str) -> None:
        self._hung_up = asyncio.Event()
        self._host = host
        self._headers = headers

    @property
    def request(self) -> Request:
        scope = {
            "type": "http",
            "method": "POST",
            "scheme": "http",
            "server": ("test", 80),
            "path": "/caption",
            "query_string": b"",
            "client": (self._host, 4000),
            "headers": [
                (name.replace("_", "-").encode(), value.encode())
                for name, value in self._headers.items()
            ],
        }
        return Request(scope, self._receive)

    async def _receive(self) -> dict[str, Any]:
        await self._hung_up.wait()
        return {"type": "http.disconnect"}

    def hang_up(self) -> None:
        self._hung_up.set()


class Site:
    def __init__(self) -> None:
        self.backend = Backend()
        self.asker = Asker(cast("gateway.backend.Backend", self.backend), OPTIONS)

    def ask(
        self, caller: Caller, picture: bytes = b"one", timeout_s: float | None = None, **fields: Any
    ) -> "asyncio.Task[ResultDocument]":
        request = caller.request
        frame = frame_of(picture, fields, request, OPTIONS)
        return asyncio.create_task(self.asker.ask(request, frame, timeout_s))

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not is_so():  # noqa: ASYNC110 - polls real parts
                await asyncio.sleep(0.002)

    async def until_jobs(self, num: int) -> list[Asked]:
        await self.until(lambda: len(self.backend.jobs) == num)
        await asyncio.sleep(0.01)
        assert len(self.backend.jobs) == num
        return self.backend.jobs


@pytest_asyncio.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    yield site
    await site.asker.close()


async def problem_of(asking: "asyncio.Task[Any]") -> Problem:
    with pytest.raises(Problem) as caught:
        await asking
    return caught.value


# -- hanging up ----------------------------------------------------------------------------------


async def test_who_hangs_up_ends_its_job(site: Site) -> None:
    caller = Caller()
    asking = site.ask(caller)
    [job] = await site.until_jobs(1)
    caller.hang_up()
    assert (await problem_of(asking)).code == "cancelled"
    async with asyncio.timeout(1.0):
        await site.until(lambda: job.is_cancelled)


async def test_who_hangs_up_does_not_end_a_job_that_another_waits_for(site: Site) -> None:
    first, second = Caller(), Caller()
    asking, other = site.ask(first), site.ask(second)
    [job] = await site.until_jobs(1)
    first.hang_up()
    await problem_of(asking)
    await asyncio.sleep(0.8)
    assert not job.is_cancelled
    job.end.set_result(result_document("A cat"))
    assert (await other).result == result_document("A cat").result


async def test_who_comes_back_at_once_finds_its_job(site: Site) -> None:
    caller = Caller()
    asking = site.ask(caller)
    [job] = await site.until_jobs(1)
    caller.hang_up()
    await problem_of(asking)
    await asyncio.sleep(0.4)
    again = site.ask(Caller())
    await asyncio.sleep(0.5)
    job.end.set_result(result_document("A cat"))
    await again
    assert len(site.backend.jobs) == 1


async def test_who_hangs_up_before_the_first_piece_is_read_ends_its_job(site: Site) -> None:
    caller = Caller()
    request = caller.request
    beginning = asyncio.create_task(
        site.asker.begin(request, frame_of(b"one", {}, request, OPTIONS))
    )
    [job] = await site.until_jobs(1)
    job.say("A")
    await beginning
    caller.hang_up()
    await site.until(lambda: job.is_cancelled)


# -- the same again ------------------------------------------------------------------------------


async def test_identical_requests_are_one_job_and_others_are_not(site: Site) -> None:
    callers = [Caller(host) for host in ("10.0.0.1", "10.0.0.1", "10.0.0.2")]
    asking = [site.ask(each) for each in callers]
    asking.append(site.ask(Caller("10.0.0.3"), b"two"))
    asking.append(site.ask(Caller("10.0.0.3"), prompt="Who?"))
    for job in await site.until_jobs(4):
        job.end.set_result(result_document("A cat"))
    await asyncio.gather(*asking)


async def test_answer_is_kept_for_who_asks_again_after_it_came(site: Site) -> None:
    asking = site.ask(Caller())
    [job] = await site.until_jobs(1)
    job.end.set_result(result_document("A cat"))
    first = await asking
    assert await site.ask(Caller()) is first
    assert len(site.backend.jobs) == 1


async def test_failure_is_not_kept(site: Site) -> None:
    for number in (1, 2):
        asking = site.ask(Caller())
        jobs = await site.until_jobs(number)
        jobs[-1].end.set_exception(Problem("engine", "no"))
        assert (await problem_of(asking)).code == "engine"


async def test_answer_about_an_address_is_not_kept(site: Site) -> None:
    for number in (1, 2):
        request = Caller().request
        frame = frame_of("http://camera/now.jpg", {}, request, OPTIONS)
        asking = asyncio.create_task(site.asker.ask(request, frame))
        (await site.until_jobs(number))[-1].end.set_result(result_document("A cat"))
        await asking


async def test_no_more_answers_are_kept_than_there_is_room_for(site: Site) -> None:
    for number in range(_MOST_KEPT + 10):
        asking = site.ask(Caller(), str(number).encode())
        await site.until(lambda number=number: len(site.backend.jobs) == number + 1)  # type: ignore[misc]
        site.backend.jobs[-1].end.set_result(result_document("A cat"))
        await asking
    await asyncio.sleep(0)
    assert len(site.asker._joints._kept) == _MOST_KEPT


async def test_idempotency_key_is_the_id_of_the_job(site: Site) -> None:
    first = site.ask(Caller(idempotency_key="mine"), b"one")
    second = site.ask(Caller(idempotency_key="mine"), b"made anew")
    third = site.ask(Caller("10.0.0.2", idempotency_key="any: text"))
    jobs = await site.until_jobs(2)
    assert jobs[0].fields["job_id"] == "mine"
    assert jobs[1].fields["job_id"].startswith("key-")
    for job in jobs:
        job.end.set_result(result_document("A cat"))
    await asyncio.gather(first, second, third)


async def test_each_picture_of_a_request_has_a_job_of_its_own() -> None:
    request = Caller(idempotency_key="mine").request
    frames = [frame_of(b"one", {}, request, OPTIONS) for _ in range(3)]
    assert [each.fields["job_id"] for each in frames] == ["mine", "mine-2", "mine-3"]


# -- patience ------------------------------------------------------------------------------------


async def test_who_would_hang_up_is_told_before_and_may_come_back(site: Site) -> None:
    began = asyncio.get_running_loop().time()
    problem = await problem_of(site.ask(Caller(x_stainless_read_timeout="0.5")))
    assert asyncio.get_running_loop().time() - began < 0.5
    assert (problem.code, problem.status, problem.retry_after_s) == ("timeout", 504, 1.0)
    assert "x-stainless-read-timeout: 0.5" in str(problem)
    [job] = await site.until_jobs(1)
    await asyncio.sleep(1.0)
    again = site.ask(Caller(x_stainless_read_timeout="0.5"))
    await asyncio.sleep(0.05)
    job.end.set_result(result_document("A cat"))
    await again


@pytest.mark.parametrize("said", ["", "nan", "-1", "1e9", "None", "0"])
async def test_patience_that_is_none_counts_as_none(site: Site, said: str) -> None:
    asking = site.ask(Caller(x_stainless_read_timeout=said), timeout_s=0.1)
    assert "within 0.1 s" in str(await problem_of(asking))


async def test_who_is_sent_away_hears_what_was_in_the_way(site: Site) -> None:
    site.backend.obstacle = "processing is paused"
    problem = await problem_of(site.ask(Caller(), timeout_s=0.1))
    assert str(problem).startswith("there is no answer within 0.1 s: processing is paused; ")


async def test_who_has_too_many_under_way_is_sent_away_until_there_is_room(site: Site) -> None:
    callers = [Caller() for _ in range(2)]
    asking = [site.ask(each, bytes([number])) for number, each in enumerate(callers)]
    jobs = await site.until_jobs(2)
    problem = await problem_of(site.ask(Caller(), b"more"))
    assert (problem.code, problem.status, problem.retry_after_s) == ("busy", 429, 7.0)
    assert "http.max_in_flight" in str(problem)
    other = site.ask(Caller("10.0.0.2"), b"more")
    await site.until_jobs(3)
    jobs[0].end.set_result(result_document("A cat"))
    await asking[0]
    more = site.ask(Caller(), b"more")
    for job in (await site.until_jobs(4))[1:]:
        job.end.set_result(result_document("A cat"))
    await asyncio.gather(asking[1], other, more)


async def test_nobody_waits_where_no_model_works(site: Site) -> None:
    site.backend.problem = Problem("model_failed", "no model works", retry_after_s=30.0)
    problem = await problem_of(site.ask(Caller()))
    assert (problem.status, problem.retry_after_s) == (503, 30.0)
    assert not site.backend.jobs


async def test_who_waits_already_hears_that_no_model_works_any_more(site: Site) -> None:
    asking = site.ask(Caller())
    [job] = await site.until_jobs(1)
    site.backend.problem = Problem("model_failed", "no model works")
    assert (await problem_of(asking)).code == "model_failed"
    await site.until(lambda: job.is_cancelled)


@pytest.mark.parametrize(
    ("header", "body", "meant"),
    [
        ("Immediate", None, "immediate"),
        ("background", "critical", "critical"),
        ("preload", None, "preload"),
    ],
)
async def test_priority_is_said_in_a_header_or_in_the_body(
    header: str, body: str | None, meant: str
) -> None:
    request = Caller(x_priority=header, x_vram_mode="unload").request
    assert frame_of(b"one", {"priority": body}, request, OPTIONS).fields["priority"] == meant


async def test_headers_count_for_frames_that_were_made_elsewhere_too(site: Site) -> None:
    request = Caller(x_priority="background", idempotency_key="mine").request
    asking = asyncio.create_task(site.asker.ask(request, Frame({"frame_data": "…"}, "POST /")))
    [job] = await site.until_jobs(1)
    assert job.fields == {"frame_data": "…", "priority": "background", "job_id": "mine"}
    job.end.set_result(result_document("A cat"))
    await asking


@pytest.mark.parametrize("data", [5, [], {"a": 1}, None, True, 0.5])
async def test_picture_that_is_none_is_left_to_the_service_to_refuse(
    site: Site, data: object
) -> None:
    frame = Frame({"frame_data": data}, "POST /caption")
    assert frame.num_bytes == 0
    asking = asyncio.create_task(site.asker.ask(Caller().request, frame))
    [job] = await site.until_jobs(1)
    job.end.set_exception(Problem("bad_field", "frame_data: must be a text"))
    assert (await problem_of(asking)).code == "bad_field"


async def test_priority_that_there_is_not_is_named() -> None:
    with pytest.raises(Problem, match="X-Priority"):
        frame_of(b"one", {}, Caller(x_priority="soon").request, OPTIONS)


async def test_picture_is_not_kept_while_its_answer_is_waited_for(site: Site) -> None:
    request = Caller().request
    request._body = b"the picture"
    asking = asyncio.create_task(
        site.asker.ask(request, frame_of(b"the picture", {}, request, OPTIONS))
    )
    await site.until_jobs(1)
    gc.collect()
    assert not [each for each in gc.get_objects() if type(each) is Frame]
    assert request._body == b""
    asking.cancel()
    await asyncio.wait({asking})


# -- piece by piece ------------------------------------------------------------------------------


async def begin(site: Site) -> "asyncio.Task[list[str]]":
    """Begin, and read to the end."""

    async def read() -> list[str]:
        request = Caller().request
        answering = await site.asker.begin(request, frame_of(b"one", {}, request, OPTIONS))
        pieces = []
        try:
            async for piece in answering.pieces():
                pieces.append(piece)  # noqa: PERF401 - told below when it fails half way
        except Problem as problem:
            pieces.append(f"!{problem.code}")
        else:
            assert answering.document is not None
        return pieces

    task = asyncio.create_task(read())
    await asyncio.sleep(0.01)
    return task


async def test_pieces_come_while_they_are_generated_and_are_the_result(site: Site) -> None:
    reading = await begin(site)
    [job] = await site.until_jobs(1)
    for piece in ("A", " cat"):
        job.say(piece)
        await asyncio.sleep(0.01)
    job.end.set_result(result_document("A cat sits"))
    assert await reading == ["A", " cat", " sits"]


async def test_who_joins_a_stream_gets_all_of_it(site: Site) -> None:
    first = await begin(site)
    [job] = await site.until_jobs(1)
    job.say("A cat")
    second = await begin(site)
    job.end.set_result(result_document("A cat sits"))
    assert (await first, await second) == (["A cat", " sits"], ["A cat", " sits"])
    assert await (await begin(site)) == ["A cat sits"]


async def test_failure_before_the_first_piece_is_a_problem(site: Site) -> None:
    reading = await begin(site)
    [job] = await site.until_jobs(1)
    job.end.set_exception(Problem("engine", "no"))
    assert (await problem_of(reading)).code == "engine"


@pytest.mark.parametrize("end", ["fails", "is another"])
async def test_stream_that_cannot_go_on_ends_with_a_problem(site: Site, end: str) -> None:
    reading = await begin(site)
    [job] = await site.until_jobs(1)
    job.say("A cat")
    await asyncio.sleep(0.01)
    if end == "fails":
        job.end.set_exception(Problem("engine", "no"))
    else:
        job.end.set_result(result_document("A dog sits"))
    assert await reading == ["A cat", "!engine" if end == "fails" else "!engine_lost"]


async def test_answer_without_text_has_no_pieces(site: Site) -> None:
    reading = await begin(site)
    [job] = await site.until_jobs(1)
    job.end.set_result(result_document(""))
    assert await reading == []
