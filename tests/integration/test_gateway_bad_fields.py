"""Every operation, with values that nobody means: a problem with a sentence each, never a 500."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from broker.embedded import EmbeddedBroker
from tests.support.described import described, operations
from tests.support.gateway import Gateway, gateway

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: But for those that take the engine away, and those that read a frame as another does.
OPERATIONS = {
    name: each
    for name, each in operations(described()).items()
    if not name.endswith(
        ("load", "pause", "stop", "processing", "webhook", "describe", "/file", "point", "query")
    )
}
#: Texts that break what is not made for them: the store, the wire, a path, a number.
_TEXTS = ("a\0b", "\ud800", "1e999")
_VALUES: tuple[Any, ...] = (*_TEXTS, None, 1 << 70, {"a": {}})
_BODIES = (b"", b"[]", b"\xff\xfe", b'{"a":1e999}', b'{"\\ud800":1}', b'{"a":' * 5000)
_AT_ONCE = asyncio.Semaphore(8)  # fewer than the gateway refuses


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    mosquitto: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    folder = tmp_path_factory.mktemp("bad") / "service"
    async with gateway(mosquitto, folder, "http/bad", http={"timeout": 2}) as it:
        yield it


def _check(answer: httpx.Response, said: object) -> None:
    assert answer.status_code < 500 or answer.status_code == 504, (said, answer.text)
    assert answer.status_code != 429, said  # then nothing has been looked at
    document = answer.json()
    if answer.status_code >= 400:
        assert document["error"]["code"], said
        assert document["error"]["message"] == document["message"]
    json.dumps(document, ensure_ascii=False).encode()  # no half a character comes back


def _path_of(name: str, value: str) -> str:
    path = name.split()[1]
    while "{" in path:
        head, _, rest = path.partition("{")
        path = head + value + rest.partition("}")[2]
    return path


def _fields(operation: dict[str, Any]) -> set[str]:
    content: dict[str, Any] = operation.get("requestBody", {}).get("content", {})
    first: dict[str, Any] = next(iter(content.values()), {})
    schema = first.get("schema", {})
    named = {each["name"] for each in operation["parameters"] if each["in"] == "query"}
    return named | set(schema.get("properties", ()))


async def _ask(service: Gateway, name: str, said: object, path: str, **options: Any) -> None:
    async with _AT_ONCE:
        _check(await service.client.request(name.split()[0], path, **options), said)


@pytest.mark.parametrize("name", OPERATIONS)
async def test_bad_values_are_problems(service: Gateway, name: str) -> None:
    path, has_body = _path_of(name, "front"), not name.startswith(("GET", "DELETE"))
    async with asyncio.TaskGroup() as asking:
        for field in sorted(_fields(OPERATIONS[name])):
            for value in _VALUES:
                said = (field, value)
                if has_body:
                    asking.create_task(_ask(service, name, said, path, **_json({field: value})))
                elif isinstance(value, str) and "\ud800" not in value:
                    asking.create_task(_ask(service, name, said, path, params={field: value}))


@pytest.mark.parametrize(
    "name", [each for each in OPERATIONS if each.startswith(("POST", "PATCH"))]
)
async def test_bad_bodies_are_problems(service: Gateway, name: str) -> None:
    path = _path_of(name, "front")
    async with asyncio.TaskGroup() as asking:
        for body in _BODIES:
            for media_type in ("application/json", "multipart/form-data; boundary=a"):
                sent = {"content": body, "headers": {"Content-Type": media_type}}
                asking.create_task(_ask(service, name, (media_type, body[:20]), path, **sent))


@pytest.mark.parametrize("name", [each for each in OPERATIONS if "{" in each])
async def test_bad_names_in_paths_are_problems(service: Gateway, name: str) -> None:
    values = ("%00", "a%00b", "%ED%A0%80", "%FF", "..%2F..", "%25", "x" * 3000, "a%0Ab")
    async with asyncio.TaskGroup() as asking:
        for value in values:
            asking.create_task(_ask(service, name, value, _path_of(name, value)))


def _json(document: object) -> dict[str, Any]:
    return {"content": json.dumps(document), "headers": {"Content-Type": "application/json"}}
