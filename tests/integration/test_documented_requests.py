"""What `docs/requests.md` tells people to type, put to a real service; and what the schemas say."""

import re
import shlex
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from jsonschema import Draft202012Validator

from broker.embedded import EmbeddedBroker
from schemas.requests.table import TABLE
from service.commands.words import read_words
from tests.docs.json_schemas import schemas
from tests.docs.reference import ROOT
from tests.integration.test_requests import Asking, service
from tests.support.conversation import json_frame
from tests.support.factories import make_image

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

SCHEMAS = schemas()
_TEXT = (ROOT / "docs/requests.md").read_text(encoding="utf-8").split("\n# Operations\n")[1]
_TOPICS = (ROOT / "docs/topics.md").read_text(encoding="utf-8")
#: Requests that a page shows as JSON, by the field that only they have.
SAMPLES = [
    (name, sample)
    for sample in re.findall(r"^```json\n(.*)\n```", _TOPICS, re.MULTILINE)
    for field, name in (("question", "query"), ("items", "batch/submit"))
    if f'"{field}":' in sample and '"frame_data":' in sample
]
EXAMPLES = re.findall(r"^```bash\nmoondream2mqtt request (.*)\n```", _TEXT, re.MULTILINE)
#: The examples name jobs, cameras and the like that are not there.
_HARMLESS = {"not_found", "wrong_state", "timeout", "content"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def talk(
    mosquitto: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Asking]:
    async with service(mosquitto, "home/documented", tmp_path_factory.mktemp("asked")) as found:
        await found.send("front", json_frame(make_image(1), job_id="mine"))
        await found.wait_for("front/status", job_id="mine", status="queued")
        yield found


async def test_every_operation_has_its_example() -> None:
    assert sorted(shlex.split(each)[0] for each in EXAMPLES) == sorted(each.name for each in TABLE)


@pytest.mark.parametrize("line", EXAMPLES)
async def test_example_is_answered_as_its_schema_says(
    talk: Asking, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))  # no model of the machine's is loaded
    name, *words = shlex.split(line)
    [operation] = [each for each in TABLE if each.name == name]
    request = read_words(operation, words)
    if "timeout" in operation.request.model_fields:  # without a model there is no end to wait for
        request["timeout"] = 0.2
    answer = await talk.ask(name, request)
    Draft202012Validator(SCHEMAS[f"bridge/response/{name}"]).validate(answer)
    assert answer["status"] == "ok" or answer["error"]["code"] in _HARMLESS, answer


@pytest.mark.parametrize(("name", "sample"), SAMPLES)
async def test_sample_of_a_request_is_accepted(talk: Asking, name: str, sample: str) -> None:
    if name == "query":  # without a model there is no end to wait for
        sample = sample.replace('"timeout": 20', '"timeout": 0.2')
    answer = await talk.ask(name, sample.encode())
    # Accepted all the same where it is the picture of an example that was sent before.
    assert answer["status"] == "ok" or answer["error"]["code"] in {"timeout", "content"}, answer
    if name == "batch/submit":  # nobody has allowed the other item's host
        assert answer["data"]["failed"] == sample.count("frame_url")


async def test_answer_with_jobs_meets_its_schema(talk: Asking) -> None:
    for name, request in (("job/list", {"camera_id": "front"}), ("job/get", {"job_id": "mine"})):
        answer = await talk.ask(name, request)
        assert answer["status"] == "ok"
        Draft202012Validator(SCHEMAS[f"bridge/response/{name}"]).validate(answer)


@pytest.mark.parametrize("name", ["bridge/info", "bridge/stats", "bridge/health", "bridge/log"])
async def test_document_of_the_bridge_meets_its_schema(talk: Asking, name: str) -> None:
    if name == "bridge/log":  # something to warn of
        await talk.send("front", b"soon", topic=f"{talk.base}/front/set/cooldown")
    document = (await talk.wait_for(name)).json
    Draft202012Validator(SCHEMAS[name]).validate(document)


async def test_status_meets_its_schema(talk: Asking) -> None:
    for heard in talk.said("front/status"):
        Draft202012Validator(SCHEMAS["status"]).validate(heard.json)
