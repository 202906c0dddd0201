"""What `/openapi.json` says, held against a service with a model."""

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from jsonschema import Draft202012Validator

from broker.embedded import EmbeddedBroker
from schemas.requests.jobs import JOB_GET
from schemas.requests.skills import CAPTION
from tests.support.described import described, operations
from tests.support.gateway import Gateway, gateway

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

DOCUMENT = described()
OPERATIONS = operations(DOCUMENT)
#: The examples name jobs, batches and models that may not be there.
_HARMLESS = {"not_found", "wrong_state"}
_JSON = "application/json"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    mosquitto: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    """One that has the job and the camera that the examples name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_CACHE", str(tmp_path_factory.mktemp("hub")))  # none of the machine's
        folder = tmp_path_factory.mktemp("openapi") / "service"
        async with gateway(
            mosquitto, folder, "http/openapi", with_model=True, fetch={"allow_hosts": ["nvr.local"]}
        ) as it:
            frame = {**CAPTION.example, "job_id": JOB_GET.example["job_id"]}
            assert (await it.client.post("/motion/detect", json=frame)).status_code == 202
            yield it


def _request_of(name: str, operation: dict[str, Any]) -> dict[str, Any]:
    """The request that the examples make."""
    method, path = name.split()
    query = {}
    for each in operation["parameters"]:
        if each["in"] == "path":
            example = each.get("example", JOB_GET.example["job_id"])
            path = path.replace(f"{{{each['name']}}}", example)
        elif "example" in each:
            query[each["name"]] = each["example"]
    request = {"method": method, "url": path, "params": query}
    content = operation.get("requestBody", {}).get("content", {})
    if _JSON in content:
        return {**request, "json": content[_JSON]["example"]}
    if content:
        [field] = content["multipart/form-data"]["schema"]["properties"]
        picture = base64.b64decode(CAPTION.example["frame_data"])
        return {**request, "files": {field: ("a.png", picture, "image/png")}}
    return request


@pytest.mark.parametrize("name", OPERATIONS)
async def test_example_works_and_answer_is_as_described(service: Gateway, name: str) -> None:
    operation = OPERATIONS[name]
    answer = await service.client.request(**_request_of(name, operation))
    said, status = answer.json(), str(answer.status_code)
    is_problem = answer.status_code >= 400 and name != "GET /health"
    assert not is_problem or said["error"]["code"] in _HARMLESS, said
    there = operation["responses"]
    assert is_problem or status in there or status == "200", status
    found = there["default" if is_problem else next(iter(there))]
    schema = {**found["content"][_JSON]["schema"], "components": DOCUMENT["components"]}
    Draft202012Validator(schema).validate(said)


async def test_description_is_served(service: Gateway) -> None:
    answer = await service.client.get("/openapi.json")
    assert answer.json()["paths"].keys() == DOCUMENT["paths"].keys()


async def test_page_is_served_and_small(service: Gateway) -> None:
    parts = [
        await service.client.get(f"/docs{each}") for each in ("", "/explorer.css", "/explorer.js")
    ]
    assert [each.status_code for each in parts] == [200, 200, 200]
    assert [each.headers["content-type"].split(";")[0] for each in parts] == [
        "text/html",
        "text/css",
        "text/javascript",
    ]
    assert sum(len(each.content) for each in parts) < 20_000
    assert not any("http://" in each.text or "https://" in each.text for each in parts)
    assert (await service.client.get("/docs/index.html")).status_code == 404
