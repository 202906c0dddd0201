"""Webhooks from a committed row to a real receiver, friendly or not.

Time that passes between attempts is turned on a fake clock; time inside an attempt is real.
"""

import asyncio
import base64
import hashlib
import hmac
import logging
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import httpcore
import pytest

from service import logs
from service.delivery.attempts import MAX_BODY_BYTES
from service.delivery.signatures import Signer
from service.errors import ConfigurationError
from service.http.urls import GuardedHttp
from tests.support.certificates import Certificate
from tests.support.factories import NOON
from tests.support.fakes import FakeClock
from tests.support.flooding_receiver import flooding
from tests.support.http_receivers import (
    Behaviour,
    Receiver,
    Request,
    WatchedBackend,
    answers,
    breaks_tls,
    drips_body,
    drips_head,
    in_turn,
    says_nothing,
    sends_endless_body,
    sends_endless_head,
    worst_lag,
)
from tests.support.store_faults import Step
from tests.support.webhook_bench import SECRET, document, webhook_bench

HOUR = 3600.0


def is_signed(request: Request, secret: str = SECRET) -> bool:
    """Verify as Standard Webhooks says, without the code under test."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode()
    digest = hmac.new(key, content + request.body, hashlib.sha256).digest()
    expected = "v1," + base64.b64encode(digest).decode()
    return expected in request.headers["webhook-signature"].split(" ")


def ids(receiver: Receiver) -> list[str]:
    return [request.headers["webhook-id"] for request in receiver.requests]


class Names:
    """A resolver with a table of its own; a name in `hangs` never gets an answer."""

    def __init__(self, table: dict[str, Sequence[str]], hangs: Sequence[str] = ()) -> None:
        self._table = table
        self._hangs = hangs

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        if host in self._hangs:
            await asyncio.Event().wait()
        if host not in self._table:
            raise OSError("Name or service not known")
        return self._table[host]


# What arrives


async def test_delivery_body_headers_and_signature(tmp_path: Path) -> None:
    async with Receiver() as receiver, webhook_bench(tmp_path) as bench:
        [job_id] = await bench.post(receiver.url, headers={"Authorization": "Bearer x"})
        await bench.until_pending(0)
        [request] = receiver.requests
        assert (request.method, request.target) == ("POST", "/hook")
        assert request.body == document(job_id).model_dump_json().encode()
        assert request.headers["content-type"] == "application/json"
        assert request.headers["user-agent"] == "moondream2mqtt/1.2.3"
        assert request.headers["authorization"] == "Bearer x"
        assert request.headers["webhook-id"] == job_id
        assert request.headers["webhook-timestamp"] == str(int(NOON.timestamp()))
        assert is_signed(request)
        assert bench.sender.success_rate == 1.0
        assert bench.sender.check().status == "healthy"
        assert bench.letters == []


async def test_delivery_without_a_secret_is_not_signed(tmp_path: Path) -> None:
    async with Receiver() as receiver, webhook_bench(tmp_path, secret=None) as bench:
        assert bench.sender.success_rate is None
        [job_id] = await bench.post(receiver.url)
        await bench.until_pending(0)
        assert "webhook-signature" not in receiver.requests[0].headers
        assert receiver.requests[0].headers["webhook-id"] == job_id


async def test_delivery_of_an_id_that_two_cameras_use_has_an_id_of_its_own(
    tmp_path: Path,
) -> None:
    behave = in_turn(answers(503), answers(410))
    async with Receiver(behave) as receiver:
        async with webhook_bench(tmp_path) as bench:
            [job_id] = await bench.post(receiver.url, webhook_id="front/job-1")
            await receiver.wait_for(1)
        async with webhook_bench(tmp_path) as bench:  # after a restart
            await bench.until_pending(0)
            [letter] = bench.letters
            assert (letter.job_id, letter.camera_id) == (job_id, "front")
        assert ids(receiver) == ["front/job-1", "front/job-1"]
        assert all(is_signed(request) for request in receiver.requests)


async def test_delivery_senders_headers_do_not_replace_ours(tmp_path: Path) -> None:
    forged = {
        "Host": "internal.example",
        "Content-Length": "3",
        "Transfer-Encoding": "chunked",
        "User-Agent": "curl",
        "WEBHOOK-ID": "other",
        "webhook-signature": "v1,forged",
        "X-Mine": "kept",
    }
    async with Receiver() as receiver, webhook_bench(tmp_path) as bench:
        [job_id] = await bench.post(receiver.url, headers=forged)
        await bench.until_pending(0)
        [request] = receiver.requests
        assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
        assert request.headers["user-agent"].startswith("moondream2mqtt/")
        assert request.headers["webhook-id"] == job_id
        assert request.headers["x-mine"] == "kept"
        assert "transfer-encoding" not in request.headers
        assert is_signed(request)


def test_signer_two_secrets_sign_twice() -> None:
    other = "whsec_" + base64.b64encode(b"k" * 32).decode()
    headers = {"webhook-id": "a", "webhook-timestamp": "1"}
    headers["webhook-signature"] = Signer(f"{SECRET} {other}").sign("a", 1, b"body")
    request = Request("POST", "/", headers, b"body")
    assert is_signed(request, SECRET)
    assert is_signed(request, other)
    assert not is_signed(request, "whsec_" + base64.b64encode(b"x" * 32).decode())


def test_signer_agrees_with_the_published_example() -> None:
    """The test vector of the Standard Webhooks specification."""
    signer = Signer("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    assert signer.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body) == (
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )


@pytest.mark.parametrize("secret", ["", " ", "whsec_not base64", "whsec_abc", "whsec_ä"])
def test_signer_malformed_secret_is_refused(secret: str) -> None:
    with pytest.raises(ConfigurationError, match=r"webhooks\.secret"):
        Signer(secret)


# Retries


@pytest.mark.parametrize("status", [301, 302, 307, 408, 425, 429, 500, 502, 503, 504])
async def test_retry_answer_is_tried_again(tmp_path: Path, status: int) -> None:
    behave = in_turn(answers(status, "Location: http://127.0.0.1:9/\r\n"), answers(204))
    async with Receiver(behave) as receiver, webhook_bench(tmp_path) as bench:
        [job_id] = await bench.post(receiver.url)
        await bench.until_failing()
        assert await bench.attempts() == [1]
        bench.turn(1.5)
        await bench.until_pending(0)
        assert ids(receiver) == [job_id, job_id]
        assert bench.sender.success_rate == 0.5
        assert bench.letters == []
        await bench.until(lambda: bench.sender.check().status == "healthy")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 413, 422])
async def test_retry_final_answer_is_not_tried_again(tmp_path: Path, status: int) -> None:
    async with Receiver(answers(status)) as receiver, webhook_bench(tmp_path) as bench:
        [job_id] = await bench.post(f"{receiver.url}/T0K3N?key=s3cret")
        await bench.until_pending(0)
        await bench.pass_time(HOUR)
        assert len(receiver.requests) == 1
        [letter] = bench.letters
        assert (letter.job_id, letter.camera_id, letter.attempts) == (job_id, "front", 1)
        assert letter.error.code == "receiver_gone"
        assert f"answered {status}" in letter.error.message
        assert letter.topic == f"http://127.0.0.1:{receiver.port}"
        assert "s3cret" not in letter.model_dump_json()


async def test_retry_waits_longer_each_time(tmp_path: Path) -> None:
    async with Receiver(answers(500)) as receiver, webhook_bench(tmp_path) as bench:
        await bench.post(receiver.url)
        await receiver.wait_for(1)
        moments = [0.0]
        seconds = 0.0
        while len(receiver.requests) < 6:
            attempts = len(receiver.requests)
            seconds += 0.5
            await bench.pass_time(0.5)
            if len(receiver.requests) > attempts:
                moments.append(seconds)
        pauses = [after - before for before, after in pairwise(moments)]
        for pause, base in zip(pauses, (1.0, 2.0, 4.0, 8.0, 16.0), strict=True):
            assert 0.8 * base <= pause <= 1.2 * base + 0.5


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_retry_after_is_honoured(tmp_path: Path, form: str) -> None:
    wish = "120" if form == "seconds" else "Thu, 01 Jan 2026 12:02:00 GMT"  # NOON + 2 minutes
    behave = in_turn(answers(429, f"Retry-After: {wish}\r\n"), answers(200))
    async with Receiver(behave) as receiver, webhook_bench(tmp_path) as bench:
        await bench.post(receiver.url, 2)
        await bench.until_failing()
        await bench.pass_time(119)
        assert len(receiver.requests) == 1
        bench.turn(26)  # and a fifth of it against the stampede
        await bench.until_pending(0)


async def test_retry_keeps_the_order_of_one_url(tmp_path: Path) -> None:
    behave = in_turn(answers(503), answers(503), answers(200), answers(503), answers(200))
    async with Receiver(behave) as receiver, webhook_bench(tmp_path) as bench:
        job_ids = await bench.post(receiver.url, 40)
        while await bench.pending():
            await bench.pass_time(2)
        first, second = job_ids[:2]
        assert ids(receiver) == [first, first, first, second, second, *job_ids[2:]]


async def test_retry_one_refused_message_steps_aside(tmp_path: Path) -> None:
    async with Receiver() as receiver, webhook_bench(tmp_path) as bench:
        [poison] = await bench.post(receiver.url)

        async def refuse(request: Request, writer: asyncio.StreamWriter) -> None:
            is_poison = request.headers["webhook-id"] == poison
            await answers(500 if is_poison else 200)(request, writer)

        receiver.behave = refuse
        others = await bench.post(receiver.url, 50)
        for _ in range(60):
            await bench.pass_time(1)
        assert [each for each in ids(receiver) if each != poison] == others
        assert await bench.pending() == 1
        refused = ids(receiver).count(poison)
        assert 5 <= refused <= 7  # it does not become hotter by stepping aside
        assert ids(receiver).index(others[0]) == 5


async def test_retry_gives_up_and_buries(tmp_path: Path) -> None:
    async with Receiver(answers(500)) as receiver, webhook_bench(tmp_path) as bench:
        job_ids = await bench.post(receiver.url, 3)
        await receiver.wait_for(1)
        for _ in range(60):
            await bench.pass_time(HOUR / 2)
        await bench.until_pending(0)
        assert [letter.job_id for letter in bench.letters] == job_ids
        assert {letter.error.code for letter in bench.letters} == {"delivery"}
        assert bench.letters[0].attempts >= 30
        assert all(letter.timestamp >= NOON.replace(day=2) for letter in bench.letters)


async def test_retry_message_that_waited_in_a_stopped_service_is_still_tried(
    tmp_path: Path,
) -> None:
    async with Receiver() as receiver:
        clock = FakeClock(NOON)
        async with webhook_bench(tmp_path, clock=clock) as bench:
            await receiver.stop()
            [job_id] = await bench.post(receiver.url)
            await bench.until_failing()
        await receiver.start()
        clock.advance(3 * 24 * HOUR)
        async with webhook_bench(tmp_path, clock=clock) as bench:
            await bench.until_pending(0)
            assert ids(receiver) == [job_id]
            assert bench.letters == []


async def test_retry_receiver_down_for_an_hour_gets_everything_in_order(tmp_path: Path) -> None:
    backend = WatchedBackend()
    http = GuardedHttp(backend=backend)
    async with (
        Receiver() as receiver,
        Receiver() as other,
        webhook_bench(tmp_path, http=http) as bench,
    ):
        await receiver.stop()
        job_ids = []
        for _ in range(100):
            job_ids += await bench.post(receiver.url, 10)
            await bench.post(other.url)
            bench.turn(36)
            await asyncio.sleep(0.005)
        await other.wait_for(100)
        assert await bench.pending() >= 1000
        attempts = len(backend.asked) - len(other.requests)
        assert 8 <= attempts <= 40  # a dead receiver costs an attempt now and then
        await receiver.start()
        for _ in range(25):
            bench.turn(36)
            await asyncio.sleep(0.01)
        await bench.until_pending(0, timeout_s=40)
        assert ids(receiver) == job_ids
        assert bench.letters == []


async def test_restart_messages_are_sent_by_the_next_life(tmp_path: Path) -> None:
    async with Receiver() as receiver:
        clock = FakeClock(NOON)
        await receiver.stop()
        async with webhook_bench(tmp_path, clock=clock) as bench:
            job_ids = await bench.post(receiver.url, 20)
            await bench.until_failing()
        await receiver.start()
        async with webhook_bench(tmp_path, clock=clock) as bench:  # the clock has not moved
            await bench.until_pending(0)
            assert ids(receiver) == job_ids


async def test_cancelled_in_flight_leaves_the_row(tmp_path: Path) -> None:
    async with Receiver(says_nothing) as receiver:
        async with webhook_bench(tmp_path) as bench:
            [job_id] = await bench.post(receiver.url)
            await receiver.wait_for(1)
        receiver.behave = answers(200)
        async with webhook_bench(tmp_path) as bench:
            await bench.until_pending(0)
            assert ids(receiver) == [job_id, job_id]


@pytest.mark.parametrize("seed", range(4))
async def test_retry_moody_receivers_get_everything_once_and_in_order(
    tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    taken: dict[str, list[str]] = {}
    tries: Counter[str] = Counter()

    async def be_moody(request: Request, writer: asyncio.StreamWriter) -> None:
        job_id = request.headers["webhook-id"]
        # At most three refusals: after five a message steps aside, which is another test's matter.
        mood = rng.random() if tries[job_id] < 3 else 1.0
        tries[job_id] += 1
        if mood < 0.2:
            await answers(503)(request, writer)
        elif mood < 0.3:
            writer.transport.abort()
        else:
            where = request.headers["host"] + request.target
            taken.setdefault(where, []).append(job_id)
            await answers(200)(request, writer)

    async with (
        Receiver(be_moody) as first,
        Receiver(be_moody) as second,
        webhook_bench(tmp_path, concurrency=2) as bench,
    ):
        expected: dict[str, list[str]] = {}
        for _ in range(100):
            receiver = rng.choice([first, second])
            url = f"{receiver.url}/{rng.randrange(6)}"
            job_ids = await bench.post(url, rng.randrange(1, 4))
            expected.setdefault(url.removeprefix("http://"), []).extend(job_ids)
            bench.turn(rng.random())
        async with asyncio.timeout(30):
            while await bench.pending():
                await bench.pass_time(1)
        assert taken == expected
        assert bench.letters == []


# Receivers that do harm


HOSTILE = [drips_head, drips_body, sends_endless_body, sends_endless_head, says_nothing]


@pytest.mark.parametrize("behave", HOSTILE)
async def test_hostile_receiver_one_attempt_is_bounded(tmp_path: Path, behave: Behaviour) -> None:
    backend = WatchedBackend()
    async with (
        Receiver(behave) as receiver,
        webhook_bench(tmp_path, http=GuardedHttp(backend=backend)) as bench,
    ):
        started = time.monotonic()
        await bench.post(receiver.url)
        await bench.until_failing()
        assert time.monotonic() - started < 1.0 + 0.5  # the limit, and this machine
        assert await bench.attempts() == [1]
        # Bodies end at 64 KiB; httpcore reads 64 KiB at once and ends heads at 100 KiB.
        limit = 2 * 65536 if behave is sends_endless_head else MAX_BODY_BYTES + 65536
        assert backend.received[0] <= limit
        receiver.behave = answers(200)
        bench.turn(5)
        await bench.until_pending(0)


async def test_hostile_receivers_fifty_at_once_stop_no_other(tmp_path: Path) -> None:
    backend = WatchedBackend()
    names = {f"h{number}.test": ["127.0.0.1"] for number in range(50)}
    hung = [f"hung{number}.test" for number in range(20)]
    http = GuardedHttp(Names({**names, "ok.test": ["127.0.0.1"]}, hung), backend)
    redirect = answers(302, "Location: http://169.254.169.254/latest/meta-data/\r\n")
    async with Receiver() as good, webhook_bench(tmp_path, http=http) as bench:
        receivers = [Receiver(behave) for behave in (*HOSTILE, redirect)]
        for receiver in receivers:
            await receiver.start()
        for number, name in enumerate(names):
            await bench.post(f"http://{name}:{receivers[number % 6].port}/", 3)
        for name in hung:
            await bench.post(f"http://{name}/", 3)
        waits: list[float] = []
        for _ in range(10):
            started = time.monotonic()
            await bench.post(f"http://ok.test:{good.port}/")
            await good.wait_for(len(waits) + 1)
            waits.append(time.monotonic() - started)
        assert sorted(waits)[5] < 0.5
        assert max(waits) < 1.0
        await bench.until(lambda: bench.sender.success_rate == round(10 / 80, 4))
        assert set(backend.asked) == {"127.0.0.1"}
        for receiver in receivers:
            receiver.behave = answers(200)
        while await bench.pending() > 60:
            bench.turn(5)
            await asyncio.sleep(0.1)
        for receiver in receivers:
            await receiver.stop()


async def test_hostile_redirect_reaches_nobody_else(tmp_path: Path) -> None:
    async with Receiver() as inside:
        redirect = answers(307, f"Location: {inside.url}\r\n")
        async with Receiver(redirect) as receiver, webhook_bench(tmp_path) as bench:
            await bench.post(receiver.url)
            await bench.turn_until(2, lambda: len(receiver.requests) >= 3)
        assert inside.num_connections == 0


async def test_slow_body_after_success_counts_as_delivered(tmp_path: Path) -> None:
    async def accept_slowly(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        await says_nothing(_, writer)

    for limit in (0.5, 3.0):  # shorter and longer than the patience for bodies
        async with (
            Receiver(accept_slowly) as receiver,
            webhook_bench(tmp_path, timeout=limit) as bench,
        ):
            await bench.post(receiver.url)
            await bench.until_pending(0, timeout_s=2.5)
            assert bench.sender.success_rate == 1.0


async def test_circuit_silent_host_is_left_alone_with_all_its_urls(tmp_path: Path) -> None:
    backend = WatchedBackend()
    async with (
        Receiver() as receiver,
        webhook_bench(tmp_path, http=GuardedHttp(backend=backend)) as bench,
    ):
        await receiver.stop()
        for number in range(200):
            await bench.post(f"{receiver.url}/{number}")
        await bench.until(lambda: len(backend.asked) >= 3)
        for _ in range(60):
            bench.turn(1)
            await asyncio.sleep(0.01)
        assert len(backend.asked) <= 12
        await receiver.start()
        await bench.turn_until(10, lambda: len(receiver.requests) >= 200)
        await bench.until_pending(0)
        assert Counter(request.target for request in receiver.requests) == Counter(
            f"/hook/{number}" for number in range(200)
        )


async def test_concurrency_per_receiver_is_limited(tmp_path: Path) -> None:
    async def take_time(request: Request, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.1)
        await answers(200)(request, writer)

    async with Receiver(take_time) as receiver, webhook_bench(tmp_path, concurrency=4) as bench:
        started = time.monotonic()
        for number in range(20):
            await bench.post(f"{receiver.url}/{number}", 2)
        await bench.until_pending(0)
        seconds = time.monotonic() - started
        assert receiver.most_at_once == 4
        assert seconds < 0.1 * 40 / 4 + 1.5


async def test_concurrency_busy_url_does_not_starve_its_host(tmp_path: Path) -> None:
    async with Receiver() as receiver, webhook_bench(tmp_path, concurrency=1) as bench:
        await bench.post(f"{receiver.url}/busy", 300)
        await receiver.wait_for(1)
        [other] = await bench.post(f"{receiver.url}/other")
        await bench.until(lambda: other in ids(receiver))
        assert len(receiver.requests) < 150


async def test_concurrency_url_that_waited_behind_idle_ones_gets_its_turn(tmp_path: Path) -> None:
    async with Receiver() as receiver, webhook_bench(tmp_path, concurrency=1) as bench:
        for number in range(20):
            await bench.post(f"{receiver.url}/{number}", 3)
        await bench.until_pending(0)
        for _ in range(20):
            count = len(receiver.requests)
            await bench.post(receiver.url)
            await receiver.wait_for(count + 1, timeout_s=5)


# Addresses


async def test_address_url_from_a_frame_needs_its_host_listed(tmp_path: Path) -> None:
    async with Receiver() as receiver:
        async with webhook_bench(tmp_path, allow_hosts=["hooks.example"]) as bench:
            await bench.post(receiver.url, trusted=False)
            await bench.until_pending(0)
            assert bench.letters[0].error.code == "url_refused"
            assert receiver.num_connections == 0
        async with webhook_bench(tmp_path, allow_hosts=[f"127.0.0.1:{receiver.port}"]) as bench:
            await bench.post(receiver.url, trusted=False)
            await bench.until_pending(0)
            assert len(receiver.requests) == 1


@pytest.mark.parametrize(
    "lie", [["127.0.0.1"], ["93.184.215.14", "127.0.0.1"], ["::1"], ["::ffff:127.0.0.1"]]
)
async def test_address_lying_name_connects_nowhere(tmp_path: Path, lie: list[str]) -> None:
    backend = WatchedBackend(detours={"93.184.215.14": "127.0.0.1"})
    http = GuardedHttp(Names({"a.example": lie}), backend)
    async with Receiver() as inside:
        async with webhook_bench(tmp_path, http=http, allow_hosts=["*.example"]) as bench:
            await bench.post(f"http://a.example:{inside.port}/", trusted=False)
            await bench.until_pending(0)
            assert bench.letters[0].error.code == "url_refused"
        assert backend.asked == []
        assert inside.num_connections == 0


async def test_address_operators_name_may_be_private_not_link_local(tmp_path: Path) -> None:
    backend = WatchedBackend()
    names = Names({"nvr.local": ["127.0.0.1"], "meta.local": ["169.254.169.254"]})
    async with (
        Receiver() as receiver,
        webhook_bench(tmp_path, http=GuardedHttp(names, backend)) as bench,
    ):
        await bench.post(f"http://nvr.local:{receiver.port}/")
        await bench.post("http://meta.local/latest/meta-data/")
        await bench.until_pending(0)
        assert len(receiver.requests) == 1
        assert [letter.topic for letter in bench.letters] == ["http://meta.local"]
        assert backend.asked == ["127.0.0.1"]


@pytest.mark.parametrize("url", ["not a url", "ftp://a.example/", "http://", "http://[::1"])
async def test_address_malformed_url_is_given_up(tmp_path: Path, url: str) -> None:
    async with webhook_bench(tmp_path) as bench:
        await bench.post(url)
        await bench.until_pending(0)
        assert bench.letters[0].topic in {"(unreadable URL)"}


async def test_address_certificate_must_match_the_name(
    tmp_path: Path, https_certificate: Certificate
) -> None:
    names = Names({"hooks.test": ["127.0.0.1"], "other.test": ["127.0.0.1"]})
    http = GuardedHttp(names, ssl_context=https_certificate.client)
    async with (
        Receiver(ssl_context=https_certificate.server) as receiver,
        webhook_bench(tmp_path, http=http) as bench,
    ):
        await bench.post(f"https://hooks.test:{receiver.port}/")
        await bench.until_pending(0)
        await bench.post(f"https://other.test:{receiver.port}/")
        await bench.until(lambda: bench.sender.success_rate == 0.5)
        assert len(receiver.requests) == 1


# What httpx lets through, and what an answer may cost


@pytest.mark.parametrize("when", ["head", "body"])
async def test_damaged_tls_record_is_one_failed_attempt(
    tmp_path: Path, https_certificate: Certificate, when: Literal["head", "body"]
) -> None:
    http = GuardedHttp(ssl_context=https_certificate.client)
    behave = in_turn(breaks_tls(when), answers(200))
    async with (
        Receiver(behave, ssl_context=https_certificate.server) as broken,
        Receiver() as other,
        webhook_bench(tmp_path, http=http) as bench,
    ):
        await bench.post(f"https://localhost:{broken.port}/")
        if when == "head":
            await bench.until_failing()
            assert await bench.attempts() == [1]
            bench.turn(1.5)
        await bench.until_pending(0)  # in the body it has been answered already
        assert len(broken.requests) == (2 if when == "head" else 1)
        await bench.post(other.url)
        await bench.until_pending(0)
        assert bench.letters == []


async def test_unexpected_error_is_one_failed_attempt(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backend = BreakingBackend(RuntimeError("s3cret"))
    async with (
        Receiver() as receiver,
        webhook_bench(tmp_path, http=GuardedHttp(backend=backend)) as bench,
    ):
        [job_id] = await bench.post(receiver.url)
        await bench.until_failing()
        assert await bench.attempts() == [1]
        backend.error = None
        bench.turn(1.5)
        await bench.until_pending(0)
        assert ids(receiver) == [job_id]
    assert any(record.exc_info for record in caplog.records)
    assert "s3cret" not in "".join(record.getMessage() for record in caplog.records)


async def test_row_that_cannot_be_read_holds_up_nobody(tmp_path: Path) -> None:
    """It says nothing about its receiver; the store sets it aside, see `test_recovery`."""
    async with Receiver() as receiver, webhook_bench(tmp_path) as bench:
        await bench.post(receiver.url, headers=["no", "object"])  # type: ignore[arg-type]
        job_ids = await bench.post(receiver.url, 3)
        await bench.turn_until(30, lambda: len(receiver.requests) == 3)
        assert ids(receiver) == job_ids
        async with asyncio.timeout(10):
            odd = await bench.store.unreadable.next()
        assert (odd.table, odd.reason) == ("outbox", "options.headers")
        assert not bench.letters


async def test_retry_after_no_date_can_be_is_no_wish(tmp_path: Path) -> None:
    wish = "Retry-After: Wed, 21 Oct 2015 07:28:00 +99999999999999999999\r\n"
    async with (
        Receiver(in_turn(answers(503, wish), answers(200))) as receiver,
        webhook_bench(tmp_path) as bench,
    ):
        await bench.post(receiver.url)
        await bench.until_failing()
        assert await bench.attempts() == [1]
        bench.turn(1.5)
        await bench.until_pending(0)


@pytest.mark.parametrize("kind", ["informational", "chunks", "trailers", "headers"])
async def test_floods_of_fifty_receivers_hold_nobody_up(tmp_path: Path, kind: str) -> None:
    with flooding(kind, 50) as ports:
        async with Receiver() as receiver, webhook_bench(tmp_path) as bench:
            async with worst_lag() as lag:
                for port in ports:
                    await bench.post(f"http://127.0.0.1:{port}/")
                [job_id] = await bench.post(receiver.url)
                await receiver.wait_for(1)
                # Each has had an attempt, or has said 200.
                while 0 in await bench.attempts():  # noqa: ASYNC110 - no event tells
                    await asyncio.sleep(0.05)
            assert ids(receiver) == [job_id]
    assert lag.seconds < 0.5, lag


class BreakingBackend(WatchedBackend):
    """Breaks in a way nobody foresaw, while there is an error to raise."""

    def __init__(self, error: Exception | None) -> None:
        super().__init__()
        self.error = error

    async def connect_tcp(self, *arguments: Any, **options: Any) -> httpcore.AsyncNetworkStream:
        if self.error is not None:
            raise self.error
        return await super().connect_tcp(*arguments, **options)


# The store


class FailingWrites:
    """Fails every write while it is on."""

    def __init__(self) -> None:
        self.is_on = False
        self.failures = 0

    def check(self, step: Step) -> None:
        if self.is_on and step == "begin":
            self.failures += 1
            raise OSError(28, "No space left on device")


async def test_store_refusing_the_deletion_does_not_send_again(tmp_path: Path) -> None:
    faults = FailingWrites()
    async with Receiver() as receiver, webhook_bench(tmp_path, faults=faults) as bench:
        await bench.post(receiver.url)
        faults.is_on = True
        await receiver.wait_for(1)
        for _ in range(5):
            await bench.until_failing()
            bench.turn(6)
            await asyncio.sleep(0.05)
        assert faults.failures >= 3
        faults.is_on = False
        bench.turn(6)
        await bench.until_pending(0)
        assert len(receiver.requests) == 1


class FailingReads:
    """Fails every statement while it is on."""

    def __init__(self) -> None:
        self.is_on = False

    def check(self, step: Step) -> None:
        if self.is_on and step == "statement":
            raise OSError(5, "Input/output error")


async def test_store_unreadable_for_a_while_stops_nothing_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = FailingReads()
    async with Receiver() as receiver, webhook_bench(tmp_path, faults=faults) as bench:
        faults.is_on = True
        bench.turn(1)
        await asyncio.sleep(0.1)
        faults.is_on = False
        await bench.post(receiver.url)
        await bench.until_pending(0)
        assert len(receiver.requests) == 1


# The log


@pytest.fixture
def _whole_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    logs.configure("debug", "text")
    root.handlers.append(caplog.handler)
    yield
    root.handlers, root.level = handlers, level


@pytest.mark.usefixtures("_whole_log")
async def test_log_never_shows_a_whole_url(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tail = "bob:hunter2@127.0.0.1:{port}/T0K3N?key=s3cret"
    async with Receiver() as receiver:
        url = "http://" + tail.format(port=receiver.port)
        receiver.behave = in_turn(answers(503), answers(200), answers(410), answers(302))
        async with webhook_bench(tmp_path) as bench:
            await bench.post(url)
            await bench.until_failing()
            bench.turn(2)
            await bench.until_pending(0)
            await bench.post(url)
            await bench.until_pending(0)
            await bench.post(url)
            await bench.until_failing()
            await receiver.stop()
            await bench.turn_until(1, lambda: bench.sender.success_rate == 0.2)
            await bench.until_failing()
            await bench.post("http://bob:hunter2@[::T0K3N/?key=s3cret")
            await bench.post("http://bob:hunter2@127.0.0.1/T0K3N?key=s3cret", trusted=False)
            await bench.until_pending(1)
            said = caplog.text + "".join(each.model_dump_json() for each in bench.letters)
            said += bench.sender.check().message
    assert receiver.requests[0].headers["authorization"].startswith("Basic ")
    assert caplog.text.count("not delivered") == 3
    assert "delivered to http://127.0.0.1:" in caplog.text
    assert caplog.text.count("given up") == 3
    for secret in ("hunter2", "T0K3N", "s3cret", "bob"):
        assert secret not in said


def test_transport_refuses_to_work_without_its_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new httpx that kept its connections elsewhere would pass the guard by."""

    class OtherPool(httpcore.AsyncConnectionPool):
        pass

    monkeypatch.setattr(httpcore, "AsyncConnectionPool", lambda **_: object())
    with pytest.raises((RuntimeError, TypeError)):
        GuardedHttp().client(lambda _: True, 1.0)
