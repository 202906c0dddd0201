import logging
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI

from gateway.problems import Problem, handle_problems


@pytest_asyncio.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    handle_problems(app)

    @app.get("/number/{number}")
    async def number(number: int, wanted: int = 0) -> int:
        return number + wanted

    @app.get("/broken")
    async def broken() -> int:
        raise KeyError("secret")

    @app.get("/busy")
    async def busy() -> int:
        raise Problem("busy", "later", retry_after_s=2.4)

    @app.post("/api/chat")
    @app.post("/api/queue/clear")
    async def full(code: str) -> int:
        raise Problem(code, "a sentence", retry_after_s=2.4)

    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://gateway"
    ) as found:
        yield found


def _said(answer: httpx.Response) -> tuple[int, str]:
    error = answer.json()["error"]
    assert error["message"] == answer.json()["message"]
    return answer.status_code, error["code"]


async def test_path_that_is_not_there_is_named(client: httpx.AsyncClient) -> None:
    answer = await client.get("/nothing")
    assert _said(answer) == (404, "not_found")
    assert "/nothing" in answer.json()["message"]


async def test_other_method_is_told_the_right_one(client: httpx.AsyncClient) -> None:
    answer = await client.post("/busy")
    assert _said(answer) == (405, "method_not_allowed")
    assert answer.headers["Allow"] == "GET, HEAD"
    assert answer.json()["message"] == "/busy is asked with GET"


@pytest.mark.parametrize(
    ("path", "param"), [("/number/x", "number"), ("/number/1?wanted=x", "wanted")]
)
async def test_bad_parameter_is_named(client: httpx.AsyncClient, path: str, param: str) -> None:
    answer = await client.get(path)
    assert _said(answer) == (400, "bad_field")
    assert answer.json()["error"]["param"] == param


async def test_unexpected_error_is_in_the_log_only(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        answer = await client.get("/broken")
    assert _said(answer) == (500, "internal")
    assert answer.json()["error"]["type"] == "server_error"
    assert "secret" not in answer.text
    assert "GET '/broken' failed" in caplog.text
    assert "KeyError: 'secret'" in caplog.text


async def test_retry_is_told_in_whole_seconds(client: httpx.AsyncClient) -> None:
    assert (await client.get("/busy")).headers["Retry-After"] == "2"


async def test_paths_of_ollama_have_its_form(client: httpx.AsyncClient) -> None:
    missing = await client.post("/api/chat?code=frame_gone")
    busy = await client.post("/api/chat?code=queue_full")
    other = await client.get("/api/chat")
    ours = await client.post("/api/queue/clear?code=queue_full")

    assert (missing.status_code, missing.json()) == (410, {"error": "a sentence"})
    assert (busy.status_code, busy.headers["Retry-After"]) == (503, "2")
    assert busy.json()["error"].startswith("server busy, please try again.")
    assert (other.status_code, other.json()) == (405, {"error": "/api/chat is asked with POST"})
    assert _said(ours) == (429, "queue_full")
