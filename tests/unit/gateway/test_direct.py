"""Routes that are reached without the framework answer as those that are reached through it."""

import pytest
from starlette.requests import Request
from starlette.responses import Response

from gateway.app import make_app
from gateway.direct import Direct
from gateway.guard.asgi import Message, Receive, Scope, Send
from gateway.problems import Problem
from tests.unit.gateway.apps import Backend, caller, options


async def _elsewhere(_scope: Scope, _receive: Receive, send: Send) -> None:
    await Response("elsewhere")(_scope, _receive, send)


async def _asked(method: str, path: str) -> tuple[int, bytes, Scope]:
    said: list[Message] = []

    async def endpoint(request: Request) -> Response:
        if "refuse" in request.url.query:
            raise Problem("bad_field", "why")
        return Response("here")

    async def send(message: Message) -> None:
        said.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    path, _, query = path.partition("?")
    scope: Scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [],
    }
    await Direct(_elsewhere, {("POST", "/a"): endpoint})(scope, receive, send)
    return said[0]["status"], said[1]["body"], scope


@pytest.mark.parametrize(("method", "path"), [("GET", "/a"), ("POST", "/a/"), ("POST", "/b")])
async def test_what_is_not_in_the_table_is_passed_on(method: str, path: str) -> None:
    status, body, scope = await _asked(method, path)
    assert (status, body) == (200, b"elsewhere")
    assert "route" not in scope


async def test_endpoint_in_the_table_answers_and_names_its_route() -> None:
    status, body, scope = await _asked("POST", "/a")
    assert (status, body) == (200, b"here")
    assert scope["route"].path == "/a"


async def test_its_problems_are_said_in_our_form() -> None:
    status, body, _ = await _asked("POST", "/a?refuse")
    assert status == 400
    assert b'"code":"bad_field"' in body


async def test_error_nobody_foresaw_is_500_and_contained(caplog: pytest.LogCaptureFixture) -> None:
    async with caller(make_app(Backend(), options()), "127.0.0.1") as client:
        answer = await client.get("/queue/stats")  # this backend takes nothing
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "GET '/queue/stats' failed" in caplog.text
