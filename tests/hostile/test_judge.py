"""The judge notices what it is there for: each fault, made by hand, is named."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from broker.embedded import EmbeddedBroker
from tests.hostile.case import BASE, CAMERA, COMPLETED, PLAIN, SECRET, Shot, rejected
from tests.hostile.listener import Listener, Trace
from tests.hostile.trial import Names, Sent, fill, is_over, judge
from tests.hostile.wire import Publication, RawClient

_NAMES = Names(CAMERA, "CAMERA-B", "one-00000001", 10_000)
_SENT = fill(Shot(PLAIN, COMPLETED, image=PLAIN), _NAMES, 1)
_CAPTION = f"32x24 {_SENT.digest}"


class Forger:
    """Says what the service would say, right or wrong."""

    def __init__(self, client: RawClient, listener: Listener) -> None:
        self._client = client
        self.listener = listener
        self.trace = Trace(
            cameras=(CAMERA,), hashes=(), answers_on=(), canary="good", canary_digest="right"
        )
        listener.open(self.trace, ["canary-0"])

    async def say(self, topic: str, **document: Any) -> None:
        payload = json.dumps(document).encode()
        await self.publish(Publication(f"{BASE}/{topic}".encode(), payload, 1))

    async def publish(self, publication: Publication) -> None:
        await self._client.publish(publication)

    async def end(self, status: str, job_id: str | None = "job", code: str = "") -> None:
        error = {"code": code, "message": "x"} if code else None
        document = {"job_id": job_id, "camera_id": CAMERA, "status": status, "error": error}
        await self.say(f"{CAMERA}/status", **document)

    async def caption(self, text: str, job_id: str = "job", camera: str = CAMERA) -> None:
        await self.say(f"{camera}/caption", job_id=job_id, result={"caption": text})

    async def canary(self, digest: str = "right") -> None:
        await self.caption(f"32x24 {digest}", "good", "canary-0")

    async def problems(self, sent: Sent = _SENT) -> list[str]:
        """What the judge finds, once the listener has heard everything."""
        await self.say("bridge/state", end=True)
        await self._client.ping()
        await self.listener.ping()
        return judge([sent], set(), self.trace)[1]


@pytest.fixture
async def forger(own_mosquitto: EmbeddedBroker) -> AsyncIterator[Forger]:
    async with (
        Listener(own_mosquitto.port) as listener,
        RawClient(own_mosquitto.port, "3.1.1", "forger") as client,
    ):
        yield Forger(client, listener)


async def test_a_caption_and_a_good_frame_behind_it_are_no_problem(forger: Forger) -> None:
    await forger.end("completed")
    await forger.caption(_CAPTION)
    await forger.canary()
    assert await forger.problems() == []
    assert is_over([_SENT], set(), forger.trace)
    assert (forger.listener.strays, forger.listener.leaks) == ([], [])


async def test_silence_is_a_problem_where_an_answer_is_due(forger: Forger) -> None:
    await forger.canary()
    assert await forger.problems() == ["silent, not completed"]
    assert not is_over([_SENT], set(), forger.trace)


async def test_a_good_frame_without_its_caption_is_a_problem(forger: Forger) -> None:
    await forger.end("completed")
    await forger.caption(_CAPTION)
    assert await forger.problems() == ["the good frame behind it has no caption"]


async def test_a_good_frame_with_the_caption_of_another_is_a_problem(forger: Forger) -> None:
    await forger.end("completed")
    await forger.caption(_CAPTION)
    await forger.canary("wrong")
    assert await forger.problems() == ["the good frame behind it has the caption of another"]


async def test_another_pictures_caption_is_a_problem(forger: Forger) -> None:
    await forger.end("completed")
    await forger.caption("32x24 wrong")
    await forger.canary()
    assert await forger.problems() == ["captioned as another picture"]


async def test_captions_of_one_id_are_told_apart_by_camera(forger: Forger) -> None:
    await forger.end("completed")
    await forger.caption(_CAPTION)
    await forger.caption("32x24 another", camera="canary-0")
    await forger.canary()
    assert await forger.problems() == []


async def test_another_size_is_a_problem(forger: Forger) -> None:
    sent = replace(_SENT, shot=replace(_SENT.shot, size=(1, 2)))
    await forger.end("completed")
    await forger.caption(_CAPTION)
    await forger.canary()
    assert await forger.problems(sent) == ["decoded as (32, 24)"]


async def test_two_ends_are_a_problem(forger: Forger) -> None:
    await forger.end("completed")
    await forger.end("failed", code="engine")
    await forger.caption(_CAPTION)
    await forger.canary()
    assert await forger.problems() == ["job has two ends"]


async def test_two_jobs_are_a_problem(forger: Forger) -> None:
    await forger.end("completed")
    await forger.end("completed", "another")
    await forger.caption(_CAPTION)
    await forger.canary()
    assert await forger.problems() == [f"2 ends on {CAMERA}"]


async def test_another_code_and_a_missing_dead_letter_are_problems(forger: Forger) -> None:
    sent = replace(_SENT, shot=Shot(PLAIN, rejected("bad_json")))
    await forger.end("rejected", None, "bad_field")
    await forger.canary()
    assert await forger.problems(sent) == [
        "rejected bad_field, not rejected bad_json",
        "rejected without a dead letter",
    ]


async def test_a_code_that_such_an_end_does_not_have_is_a_problem(forger: Forger) -> None:
    sent = replace(_SENT, shot=Shot(PLAIN, frozenset({"dropped bad_json"})))
    await forger.end("dropped", code="bad_json")
    await forger.canary()
    [problem] = await forger.problems(sent)
    assert problem.startswith("dropped with {'code': 'bad_json'")


async def test_an_answer_elsewhere_is_a_stray_of_its_job(forger: Forger) -> None:
    await forger.say("response/CAMERA-B/1", job_id="job")
    await forger.problems()
    [(text, job_id)] = forger.listener.strays
    assert text.startswith("'hostile/response/CAMERA-B/1'")
    assert job_id == "job"


@pytest.mark.parametrize("topic", ["nobody/status", f"{CAMERA}/set/prompt", "bridge/x", "x"])
async def test_a_topic_that_nobody_has_asked_for_is_a_stray(forger: Forger, topic: str) -> None:
    await forger.say(topic, a=1)
    await forger.problems()
    assert len(forger.listener.strays) == 1


async def test_a_secret_is_noticed_wherever_it_is_said(forger: Forger) -> None:
    await forger.say("bridge/info", settings={"password": SECRET})
    await forger.problems()
    assert len(forger.listener.leaks) == 1


async def test_what_the_corpus_sends_itself_is_no_stray(forger: Forger) -> None:
    publication = Publication(b"anywhere", b"hostile")
    forger.listener.expect(publication.topic, publication.payload)
    await forger.publish(publication)
    await forger.problems()
    assert forger.listener.strays == []
