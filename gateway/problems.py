"""Why a request is refused, and how that is said: a status code, a code for programs, a sentence.

The three forms of the body are those that clients read: ours (which OpenAI's are too), and Ollama's
below `/api/` where that is Ollama's. What the framework refuses (paths, methods, types) is said in
the same form, and so is what nobody foresaw: its traceback is in the log only.
"""

import logging
from typing import Any, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker.codec import PayloadError

logger = logging.getLogger(__name__)

_LONGEST_PATH = 128  # characters that are worth repeating
_MOST_NAMED = 3  # mistakes in one message; a sender mends the first ones first

#: HTTP status by code of the error; see `schemas.codes` and `schemas.requests.codes`.
STATUSES = {
    "bad_request": 400,
    "bad_json": 400,
    "bad_field": 400,
    "bad_base64": 400,
    "bad_topic": 400,
    "empty_payload": 400,
    "camera_mismatch": 400,
    "prompt": 400,
    "url_refused": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "unknown_operation": 404,
    "not_found": 404,
    "method_not_allowed": 405,
    "too_slow": 408,
    "ambiguous": 409,
    "wrong_state": 409,
    "cancelled": 409,
    "too_many_cameras": 409,
    "frame_gone": 410,
    "too_large": 413,
    "payload_too_large": 413,
    "too_many_bytes": 413,
    "not_an_image": 415,
    "unsupported_type": 415,
    "too_many_pixels": 422,
    "side_too_long": 422,
    "image_too_small": 422,
    "too_many_scans": 422,
    "image_animated": 422,
    "image_truncated": 422,
    "image_corrupt": 422,
    "misdirected": 421,
    "busy": 429,
    "too_many_guesses": 429,
    "queue_full": 429,
    "header_too_large": 431,
    "internal": 500,
    "not_implemented": 501,
    "fetch_failed": 502,
    "model_failed": 503,
    "store": 503,
    "stopping": 503,
    "engine_lost": 503,
    "out_of_memory": 503,
    "timeout": 504,
    "expired": 504,
    "disk_full": 507,
}


#: Ollama's paths; whatever else is below `/api/` is ours.
_OLLAMA_PATHS = frozenset(
    f"/api/{name}"
    for name in (
        *("version", "tags", "ps", "show", "generate", "chat", "pull", "push", "create", "copy"),
        *("delete", "embed", "embeddings"),
    )
)
#: What Ollama says itself, with 503: clients look for it before they try again.
_OLLAMA_BUSY = "server busy, please try again.  maximum pending requests exceeded"
_BUSY_CODES = frozenset({"busy", "queue_full"})


class Problem(Exception):  # noqa: N818 - what RFC 9457 calls it
    """A request that is not done.

    Args:
        code: For programs.
        message: For people; names the field, the setting or the state that is in the way.
        param: The field that is wrong, where it is one.
        retry_after_s: When it may work; goes into `Retry-After`.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.param = param
        self.retry_after_s = retry_after_s

    @property
    def status(self) -> int:
        """Of HTTP; what the model or the service could not do is 500."""
        return STATUSES.get(self.code, 500)


class ProblemDetail(BaseModel):
    """What is in the way."""

    message: str = Field(description="for people")
    type: Literal["invalid_request_error", "server_error"]
    param: str | None = Field(description="the field that is wrong, where it is one")
    code: str = Field(description="for programs")


class ProblemDocument(BaseModel):
    """Every problem in our form."""

    error: ProblemDetail
    message: str = Field(description="the same as in `error`")


def refused(error: PayloadError) -> Problem:
    """What MQTT would answer to the same content."""
    message = str(error)
    path = message.partition(":")[0]
    param = path if error.code == "bad_field" and path.isprintable() else None
    return Problem(error.code, message, param=param)


def answer_problem(request: Request, problem: Problem) -> JSONResponse:
    """The problem in the form that callers of the path read."""
    headers = {}
    if problem.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, round(problem.retry_after_s)))
    if request.url.path in _OLLAMA_PATHS:
        status = 503 if problem.code in _BUSY_CODES else problem.status
        return JSONResponse({"error": said_by_ollama(problem)}, status, headers)
    return JSONResponse(_body(problem), problem.status, headers)


def said_by_ollama(problem: Problem) -> str:
    """The sentence that Ollama's callers read."""
    return _OLLAMA_BUSY if problem.code in _BUSY_CODES else str(problem)


def handle_problems(app: FastAPI) -> None:
    """Let every refusal and every failure of an application be said in these forms."""
    app.add_exception_handler(Problem, answer_problem)  # type: ignore[arg-type]
    app.add_exception_handler(HTTPException, _answer_framework)  # type: ignore[arg-type]
    app.add_exception_handler(RequestValidationError, _answer_invalid)  # type: ignore[arg-type]
    app.add_middleware(Contained)


def _body(problem: Problem) -> dict[str, Any]:
    message = str(problem)
    detail = ProblemDetail(
        message=message,
        type="invalid_request_error" if problem.status < 500 else "server_error",
        param=problem.param,
        code=problem.code,
    )
    return ProblemDocument(error=detail, message=message).model_dump()


def _answer_framework(request: Request, error: HTTPException) -> JSONResponse:
    """What the router refuses: paths and methods that are not there."""
    path = request.url.path[:_LONGEST_PATH]
    if error.status_code == 404:
        problem = Problem("not_found", f"there is nothing at {path}; /docs lists what there is")
    elif error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        problem = Problem("method_not_allowed", f"{path} is asked with {allowed}")
        if "GET" in allowed and "HEAD" not in allowed:  # what `gateway.heads` adds
            error.headers = {"Allow": f"{allowed}, HEAD"}
    else:
        problem = Problem("bad_request", str(error.detail))
    answer = answer_problem(request, problem)
    answer.status_code = error.status_code
    answer.headers.update(error.headers or {})
    return answer


def _answer_invalid(request: Request, error: RequestValidationError) -> JSONResponse:
    """A parameter that a route has declared is missing or has a bad value."""
    found = error.errors()[:_MOST_NAMED]
    said = [(".".join(map(str, each["loc"][1:])) or "body", each["msg"]) for each in found]
    message = "; ".join(f"{name}: {text}" for name, text in said)
    return answer_problem(request, Problem("bad_field", message, param=said[0][0]))


class Contained:
    """An error that nobody foresaw ends its own request: 500, and the traceback in the log.

    Once an answer has begun it is cut, which clients take for what it is.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        has_begun = False

        async def note(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, note)
        except ClientDisconnect:
            return  # nobody hears it
        except Exception:
            path = f"{scope.get('method')} {scope['path'][:_LONGEST_PATH]!a}"
            logger.exception("%s failed", path, extra={"action": "unexpected_error"})
            if not has_begun:
                problem = Problem("internal", "an unexpected error; the log has it")
                await answer_problem(Request(scope), problem)(scope, receive, send)
