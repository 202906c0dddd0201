"""What every request passes: the checks in their order, and the answer where one does not pass."""

from urllib.parse import quote

from fastapi import Request, Response
from starlette.requests import ClientDisconnect

from gateway.guard.asgi import App, Message, Receive, Scope, Send
from gateway.guard.bodies import Body, Room, check_announced, max_bytes
from gateway.guard.callers import Caller, Callers
from gateway.guard.hosts import Hosts
from gateway.guard.incoming import Incoming
from gateway.guard.origins import Origins
from gateway.guard.requests import check_request
from gateway.guard.shields import Headers, add, shields
from gateway.guard.turns import Turns, turns_of_frames
from gateway.options import GatewayOptions
from gateway.problems import Problem, answer_problem

#: Answered to strangers too; `/health` shortly.
_PUBLIC = frozenset({"/livez", "/readyz", "/health", "/login", "/logout"})
#: A frame is handed over there, and nobody waits for the model.
_HAND_OVER = frozenset({"/motion/detect", "/motion/detect-with-webhook"})


class BodyGone(ClientDisconnect):  # nobody hears what the route would say
    """The body was refused while a route read it, or its caller has hung up."""


class Guard:
    """An ASGI application around another.

    Args:
        app: Answers what passes.
        options: Limits, and who may.
        callers: Tells who calls.
    """

    def __init__(self, app: App, options: GatewayOptions, callers: Callers) -> None:
        self._app = app
        self._max_image_bytes = options.max_image_bytes
        self._callers = callers
        self._hosts = Hosts(options.allowed_hosts)
        self._origins = Origins(options.cors_origins)
        self._room = Room()
        self._turns = Turns()
        self._turns_of_frames = turns_of_frames()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; what is no request (the start of the server) is passed on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_frame = scope["path"] in _HAND_OVER
        await (self._turns_of_frames if is_frame else self._turns).take()
        incoming = Incoming.of(scope)
        is_ingress = self._callers.ingress(incoming) is not None
        answer = _Answer(send, shields(is_ingress=is_ingress) + self._origins.headers(incoming))
        most = max_bytes(incoming.path, self._max_image_bytes)
        try:
            check_request(incoming)
            if not is_ingress:
                self._hosts.check(incoming)
            if (headers := self._origins.preflight(incoming)) is not None:
                await answer.send_headers(204, headers)
                return
            self._origins.check(incoming, is_ingress=is_ingress)
            caller = self._identify(incoming)
            check_announced(incoming, most)
        except Problem as problem:
            if is_frame:  # a flood of what is refused is no flood of frames
                await self._turns.take()
            await self._refuse(problem, incoming, scope, receive, answer)
            return
        scope.setdefault("state", {})
        scope["state"].update(caller=caller.name, is_known=caller.is_known)
        if caller.root_path:
            scope["root_path"] = caller.root_path
        await self._pass_on(scope, Body(receive, most, self._room), answer)

    def _identify(self, incoming: Incoming) -> Caller:
        try:
            return self._callers.identify(incoming)
        except Problem:
            if incoming.path in _PUBLIC:
                return self._callers.stranger(incoming)
            raise

    async def _pass_on(self, scope: Scope, body: Body, answer: "_Answer") -> None:
        """Let a route answer; a body that turns out to be wrong is answered in its place."""

        async def receive() -> Message:
            try:
                message = await body.receive()
            except Problem as problem:
                if not answer.has_begun:
                    response = answer_problem(Request(scope), problem)
                    await response(scope, body.receive, answer.send)
                answer.is_closed = True
                raise BodyGone from problem
            if message["type"] == "http.disconnect" and not body.is_whole:
                answer.is_closed = True
                raise BodyGone
            return message

        try:
            await self._app(scope, receive, answer.send)
        except Exception:
            if not answer.is_closed:
                raise
        finally:
            body.release()

    async def _refuse(
        self,
        problem: Problem,
        incoming: Incoming,
        scope: Scope,
        receive: Receive,
        answer: "_Answer",
    ) -> None:
        if problem.code == "unauthorized" and incoming.wants_page:
            to = "../" * (incoming.path.count("/") - 1) + "login"
            if incoming.path != "/":
                to += f"?next={quote(incoming.path[1:])}"
            await answer.send_headers(303, [(b"location", to.encode("ascii"))])
            return
        response: Response = answer_problem(Request(scope), problem)
        if problem.status == 401:
            response.headers["WWW-Authenticate"] = 'Bearer realm="moondream2mqtt"'
        if problem.status == 405:
            response.headers["Allow"] = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
        await response(scope, receive, answer.send)


class _Answer:
    """What goes back, with the headers that everything has."""

    def __init__(self, send: Send, headers: Headers) -> None:
        self._send = send
        self._headers = headers
        self.has_begun = False
        self.is_closed = False  #: what the route still says is not heard

    async def send(self, message: Message) -> None:
        """Pass a message of the answer on."""
        if self.is_closed:
            return
        if message["type"] == "http.response.start":
            self.has_begun = True
            add(message, self._headers)
        await self._send(message)

    async def send_headers(self, status: int, headers: Headers) -> None:
        """A whole answer without a body."""
        if status != 204:
            headers = [*headers, (b"content-length", b"0")]
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": b""})
