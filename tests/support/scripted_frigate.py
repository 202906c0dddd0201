"""A server with Frigate's answers as they were recorded, which can be told to misbehave.

`tests/frigate` has the real application; here stands what that cannot be made to do.
"""

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from math import inf
from typing import Any
from urllib.parse import parse_qs, unquote

from tests.support.http_receivers import Behaviour, Receiver, Request, answers

EVENT = "1700000000.123456-abc123"
_EVENT_PATH = re.compile(r"/api/events/([^/?]+)(?:/([^?]+))?")


@dataclass
class ScriptedFrigate:
    """What Frigate has, and how it answers.

    Attributes:
        events: Its database, by id, as `/api/events/<id>` shows them.
        pictures: By id and name of the file.
        accepts: Password of the account `moondream`; None: the port without login.
        role: Of the account.
        genai: Cameras for which Frigate describes by itself.
        instead: Answers all requests; else those of a path that begins so.
        writes: What was written, in order: id, key, value.
    """

    events: dict[str, dict[str, Any]] = field(default_factory=dict)
    pictures: dict[tuple[str, str], bytes] = field(default_factory=dict)
    accepts: str | None = None
    role: str = "admin"
    genai: set[str] = field(default_factory=set)
    instead: dict[str, Behaviour] = field(default_factory=dict)
    writes: list[tuple[str, str, Any]] = field(default_factory=list)
    on_write: Callable[[str], None] = lambda _: None
    num_logins: int = 0

    def __post_init__(self) -> None:
        self.receiver = Receiver(self._behave)
        self._tokens: set[str] = set()
        self._numbers = count(1)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.receiver.port}"

    def paths(self) -> list[str]:
        """What was asked for, without the query."""
        return [each.target.partition("?")[0] for each in self.receiver.requests]

    def forget_tokens(self) -> None:
        """All sessions end."""
        self._tokens.clear()

    def add(self, event_id: str = EVENT, *, ended: bool = True, **more: Any) -> dict[str, Any]:
        """Put an object into the database."""
        event = {
            "id": event_id,
            "camera": "front_door",
            "label": "person",
            "sub_label": None,
            "end_time": 1700000010.0 if ended else None,
            "data": {"score": 0.8},
            **more,
        }
        self.events[event_id] = event
        return event

    def renew(self) -> str:
        """A line that gives a new session, as Frigate sends it near the end of one."""
        token = f"eyJh.eyJ{next(self._numbers)}.x_-"
        self._tokens.add(token)
        return f"Set-Cookie: frigate_token={token}; HttpOnly; Max-Age=86400; Path=/\r\n"

    async def _behave(self, request: Request, writer: asyncio.StreamWriter) -> None:
        for prefix, behave in self.instead.items():
            if request.target.startswith(prefix):
                return await behave(request, writer)
        if request.target == "/api/login":
            return await self._log_in(request)(request, writer)
        if self.accepts is not None and not self._is_known(request):
            return await answers(401, body=b"")(request, writer)
        return await self.answer(request)(request, writer)

    def _is_known(self, request: Request) -> bool:
        return any(token in request.headers.get("cookie", "") for token in self._tokens)

    def _log_in(self, request: Request) -> Behaviour:
        self.num_logins += 1
        if self.accepts is None:
            return _json(404, {"message": "Authentication is disabled"})
        if json.loads(request.body) != {"user": "moondream", "password": self.accepts}:
            return _json(401, {"message": "Login failed"})
        return answers(200, self.renew(), b"")

    def answer(self, request: Request) -> Behaviour:
        """What Frigate does with a request, and says."""
        path = request.target.partition("?")[0]
        if path == "/api/version":
            return answers(200, body=b"0.17.2-test")
        if path == "/api/profile":
            return _json(200, {"username": "moondream", "role": self.role})
        if path == "/api/config":
            camera = {"objects": {"genai": {"enabled": True}}}
            return _json(
                200, {"mqtt": {"enabled": True}, "cameras": dict.fromkeys(self.genai, camera)}
            )
        if path == "/api/events":
            return _json(200, self._newer_than(request.target))
        if (found := _EVENT_PATH.fullmatch(path)) is not None:
            return self._event(request, unquote(found[1]), found[2])
        return _json(404, {"detail": "Not Found"})

    def _newer_than(self, target: str) -> list[dict[str, Any]]:
        """Objects that began after the time the query names, as Frigate has it."""
        after = float(parse_qs(target.partition("?")[2]).get("after", ["0"])[0])
        return [each for each in self.events.values() if each.get("start_time", inf) > after]

    def _event(self, request: Request, event_id: str, below: str | None) -> Behaviour:
        if (picture := self.pictures.get((event_id, below or ""))) is not None:
            return answers(200, body=picture)
        event = self.events.get(event_id)
        if event is None or (request.method == "GET" and below is not None):
            return _json(404, {"success": False, "message": "Event not found"})
        if request.method == "GET":
            return _json(200, event)
        if self.role != "admin":
            return _json(403, {"detail": f"Role {self.role} not authorized. Required: admin"})
        body = json.loads(request.body)
        if below == "description":
            event["data"] = {**event["data"], "description": body["description"]}
        else:
            event["sub_label"] = body["subLabel"]
            event["data"] = {**event["data"], "sub_label_score": body["subLabelScore"]}
        self.writes.append((event_id, below or "", next(iter(body.values()))))
        self.on_write(event_id)
        return _json(200, {"success": True, "message": "set"})


def _json(status: int, content: object) -> Behaviour:
    return answers(status, "Content-Type: application/json\r\n", json.dumps(content).encode())
