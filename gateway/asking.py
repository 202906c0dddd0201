"""A picture is asked about over HTTP: whoever waits for the answer, and may hang up meanwhile.

Every interface that answers at once (ours, Moondream's, OpenAI's, Ollama's) asks through here, so
that all of them keep the same rules: who hangs up ends its job unless others wait for it too, who
asks the same again gets the same job, who is about to lose patience is told so first, and nobody
has more under way than `http.max_in_flight`.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

from fastapi import Request

from gateway.backend import Backend, Frame
from gateway.callers import Callers, caller_of, patience_of, said_in_headers
from gateway.guard.asgi import until_hung_up
from gateway.joining import Joint, Joints
from gateway.options import GatewayOptions
from gateway.problems import Problem
from schemas.result import ResultDocument

_IS_URL = ("http://", "https://")
_LOOK_S = 1.0  # between two looks whether a model works
#: After which a job is cancelled whose callers hung up. The clients that try again do so after half
#: a second, and then join it.
_HUNG_UP_S = 0.6
#: The same for one whose callers were sent away in time, with `Retry-After`.
_SENT_AWAY_S = 10.0
_COME_BACK_S = 1.0


class _Waiting:
    """A caller that waits for a job.

    Args:
        joint: The job, entered.
        request: Of the caller.
        backend: Says whether a model works.
        until: Time on `time.monotonic` at which the caller is sent away.
        why: What set that time.
        held: What is given back when it waits no more.
    """

    def __init__(
        self,
        joint: Joint,
        request: Request,
        backend: Backend,
        until: float,
        why: str,
        held: ExitStack,
    ) -> None:
        self.joint = joint
        self.until, self.why = until, why
        self._backend = backend
        self._grace_s = _HUNG_UP_S
        self._held = held
        held.callback(lambda: joint.leave(self._grace_s))
        self._gone = asyncio.create_task(until_hung_up(request.receive), name="http hang-up")
        self._gone.add_done_callback(lambda _: self.leave())

    async def wait(self, is_so: Callable[[Joint], bool]) -> None:
        """Wait until something is so of the job.

        Raises:
            Problem: It ended without a result, or the caller is not to wait any longer.
        """
        while not is_so(self.joint):
            if self.joint.problem is not None:
                raise self.joint.problem
            left_s = self.until - time.monotonic()
            if left_s <= 0:
                self._grace_s = _SENT_AWAY_S
                obstacle = self._backend.obstacle
                raise Problem(
                    "timeout",
                    f"there is no answer within {self.why}{f': {obstacle}' if obstacle else ''}; "
                    f"who asks the same again within {_SENT_AWAY_S:g} s goes on waiting for the "
                    "same job",
                    retry_after_s=_COME_BACK_S,
                )
            waits = (self.joint.changed, self._gone)
            await asyncio.wait(
                waits, timeout=min(left_s, _LOOK_S), return_when=asyncio.FIRST_COMPLETED
            )
            if self._gone.done():
                raise Problem("cancelled", "the caller has hung up")
            if not is_so(self.joint):
                self._backend.wait_s()

    def leave(self) -> None:
        """Wait no more; a second time does nothing."""
        self._gone.cancel()
        self._held.close()


class Answering:
    """An answer under way: text while it is generated, then the result document.

    Attributes:
        document: The result, once `pieces` has ended.
    """

    def __init__(self, waiting: _Waiting) -> None:
        self._waiting = waiting
        self.document: ResultDocument | None = None

    async def pieces(self) -> AsyncIterator[str]:
        """The text of the answer, piece by piece; together they are what the result says.

        Raises:
            Problem: It failed after its first piece, or ran again and says something else.
        """
        joint, told = self._waiting.joint, ""
        try:
            while joint.document is None:
                if piece := joint.text[len(told) :]:
                    told += piece
                    yield piece
                    continue
                await self._waiting.wait(partial(_has_news, len(told)))
                if joint.problem is not None:
                    raise joint.problem
            text = first_text(joint.document)
            if not text.startswith(told):
                raise Problem("engine_lost", "the engine was lost, and the next one said otherwise")
            if rest := text[len(told) :]:
                yield rest
            self.document = joint.document
        finally:
            self._waiting.leave()


def _has_news(num_told: int, joint: Joint) -> bool:
    return joint.is_over or len(joint.text) > num_told


class Asker:
    """Asks on behalf of callers.

    Args:
        backend: Answers.
        options: Limits.

    Attributes:
        closing: Set when nobody is to wait any longer.
    """

    def __init__(self, backend: Backend, options: GatewayOptions) -> None:
        self._backend = backend
        self._options = options
        self._callers = Callers(options.max_in_flight)
        self._joints = Joints(backend)
        self.closing = asyncio.Event()

    async def ask(
        self, request: Request, frame: Frame, timeout_s: float | None = None
    ) -> ResultDocument:
        """The result document of a picture; a caller that hangs up cancels its job.

        Args:
            request: Of the caller; its body is forgotten.
            frame: See `frame_of`; hand it over without keeping it, as its picture may be large.
            timeout_s: None: `http.timeout`.

        Raises:
            Problem: There is none, and why.
        """
        entering = self._enter(request, frame, timeout_s, is_streamed=False)
        del frame
        waiting = await entering
        try:
            await waiting.wait(lambda joint: joint.document is not None)
            assert waiting.joint.document is not None  # noqa: S101 - waited for
            return waiting.joint.document
        finally:
            waiting.leave()

    async def begin(
        self, request: Request, frame: Frame, timeout_s: float | None = None
    ) -> Answering:
        """The same piece by piece.

        Returns with the first piece: a failure before it is a status code, not a broken stream.

        Raises:
            Problem: There will be none, and why.
        """
        entering = self._enter(request, frame, timeout_s, is_streamed=True)
        del frame
        waiting = await entering
        try:
            await waiting.wait(lambda joint: bool(joint.text) or joint.document is not None)
        except BaseException:
            waiting.leave()
            raise
        limit_s = self._limit(timeout_s)
        waiting.until = max(waiting.until, time.monotonic() + limit_s)
        waiting.why = f"{limit_s:g} s after its beginning"
        return Answering(waiting)

    async def close(self) -> None:
        """End all that is under way: whoever waits hears that the service is stopping."""
        self.closing.set()
        await self._joints.close()

    def _limit(self, timeout_s: float | None) -> float:
        return self._options.timeout_s if timeout_s is None else timeout_s

    async def _enter(
        self, request: Request, frame: Frame, timeout_s: float | None, *, is_streamed: bool
    ) -> _Waiting:
        """Let a caller wait for its picture's job.

        Raises:
            Problem: `busy`, or no model works.
        """
        now = time.monotonic()
        frame = replace(frame, fields={**frame.fields, **said_in_headers(request, frame.fields)})
        caller, limit_s = caller_of(request), self._limit(timeout_s)
        priority = frame.fields.get("priority")
        wait_s = self._backend.wait_s(priority)
        if self._callers.is_full(caller):
            raise Problem(
                "busy",
                f"{self._options.max_in_flight} requests of yours are under way, more are not "
                "allowed by http.max_in_flight",
                retry_after_s=wait_s or _COME_BACK_S,
            )
        _forget_body(request)
        with ExitStack() as held:
            held.enter_context(self._callers.place(caller))
            joining = self._joints.join(caller, frame, is_streamed=is_streamed)
            del frame
            joint = await joining
            patience_s, said = patience_of(request)
            why = f"{limit_s:g} s"
            if patience_s < limit_s:
                why, limit_s = f"the patience of the caller ({said})", patience_s
            until = now + limit_s
            return _Waiting(joint, request, self._backend, until, why, held.pop_all())


def _forget_body(request: Request) -> None:
    """Let go of what the framework keeps of a body that has been read."""
    for name in ("_body", "_json"):
        if hasattr(request, name):
            setattr(request, name, b"")


def first_text(document: ResultDocument) -> str:
    """What a result says to the first of its tasks: its caption or its first answer."""
    result = document.result
    if result is None:
        return ""
    return result.caption or (result.answers[0].answer if result.answers else "")


def finish_reason(documents: Iterable[ResultDocument | None]) -> str:
    """Why texts ended, as OpenAI and Ollama call it: `length` where one was cut, else `stop`."""
    results = (document.result for document in documents if document is not None)
    is_cut = any(result is not None and result.truncated for result in results)
    return "length" if is_cut else "stop"


def frame_of(
    picture: str | bytes,
    fields: Mapping[str, Any],
    request: Request,
    options: GatewayOptions,
) -> Frame:
    """A frame of a request.

    Args:
        picture: Its bytes, base64 or a data URI of them, or an http(s) address, which has to be
            allowed by `fetch.allow_hosts`.
        fields: Of a `MotionFrame`; without `camera_id` it is asked in the name of `http.camera`.
        request: Names the origin, and may say priority and id in headers.
        options: Name that camera.

    Raises:
        Problem: A header has a value that it cannot have.
    """
    said = {"camera_id": options.camera_id, **fields, **said_in_headers(request, fields)}
    origin = f"{request.method} {request.scope['path']}"
    if isinstance(picture, bytes):
        return Frame(said, origin, picture)
    if picture[:8].lower().startswith(_IS_URL):
        return Frame({**said, "frame_url": picture}, origin)
    return Frame(said, origin, picture.encode("ascii", "replace"))
