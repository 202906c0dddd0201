"""Bodies: how large, of which kind, how slow; measured while they come in, never afterwards."""

import asyncio
import re
import time
from collections.abc import Callable
from typing import Any

from gateway.guard.asgi import Message, Receive
from gateway.guard.incoming import Incoming
from gateway.problems import Problem
from schemas.requests.batches import MAX_BATCH_BYTES
from schemas.requests.operation import MAX_REQUEST_BYTES

#: JSON around a picture, or the lines between the parts of a form.
_AROUND = 128 << 10
#: Of all bodies together that are being received or answered.
MAX_BYTES_AT_ONCE = 256 << 20
#: A body may take so long, and as much longer as it has bytes at this pace.
GRACE_S = 20.0
PACE = 32 << 10

_ONE_PICTURE = re.compile(
    r"/(motion/|describe(/|$)|(caption|query|detect|point|choose)$|api/media/upload$|api/visage/task$|cameras/[^/]+/describe$"
    r"|v1/(caption|query|detect|point|segment|classify)$)"
)
_PICTURES = re.compile(r"/((v1/)?chat/completions$|api/(generate|chat)$|v1/vision/batch-caption$)")
_BATCH = re.compile(r"/(api/batch$|api/visage/job$)")
_MOST_PICTURES = 16

_JSON = re.compile(r"application/([a-z0-9.-]+\+)?json")
_KINDS = frozenset({"multipart/form-data", "image/jpeg", "image/jpg", "image/png", "image/webp"})
_FORM = "application/x-www-form-urlencoded"
#: Where it is taken: our own form, Station's functions, and Ollama, which does not look at it
#: (its documentation's `curl -d` sends it).
_FORMS = re.compile(
    r"/(login|logout|v1/(caption|query|detect|point|count_tokens)"
    r"|api/(generate|chat|show|pull|push|create|copy|delete|embed|embeddings))$"
)


class Room:
    """The bytes of all bodies that are here at once, and those that are waited for.

    One look a second at all who wait: a timer for each piece of each body cost a twentieth of the
    computing that a posted frame takes.

    Args:
        look_every_s: Seconds.
    """

    def __init__(self, look_every_s: float = 1.0) -> None:
        self.taken = 0
        self._look_every_s = look_every_s
        self._waiting: set[Body] = set()
        self._is_looking = False

    def watch(self, body: "Body") -> None:
        """See that it does not wait for longer than it may."""
        self._waiting.add(body)
        if not self._is_looking:
            self._is_looking = True
            asyncio.get_running_loop().call_later(self._look_every_s, self._look)

    def leave(self, body: "Body") -> None:
        """It waits no more."""
        self._waiting.discard(body)

    def _look(self) -> None:
        self._is_looking = bool(self._waiting)
        if self._is_looking:
            asyncio.get_running_loop().call_later(self._look_every_s, self._look)
        for body in [each for each in self._waiting if each.is_late]:
            body.give_up()

    def take(self, num_bytes: int) -> None:
        """Count bytes that have come.

        Raises:
            Problem: They are too many.
        """
        if self.taken + num_bytes > MAX_BYTES_AT_ONCE:
            raise Problem(
                "busy", "too many bytes are on their way here; send it again", retry_after_s=2
            )
        self.taken += num_bytes


def max_bytes(path: str, max_image_bytes: int) -> int:
    """Of a body that is sent there; base64 needs four bytes for three."""
    picture = -(-max_image_bytes // 3) * 4 + _AROUND
    if _BATCH.match(path):
        return MAX_BATCH_BYTES
    if _PICTURES.match(path):
        return max(picture, min(_MOST_PICTURES * picture, MAX_BATCH_BYTES))
    return picture if _ONE_PICTURE.match(path) else MAX_REQUEST_BYTES


def check_announced(incoming: Incoming, most: int) -> None:
    """See that what the headers say of the body can be taken.

    Raises:
        Problem: Too large, or of another kind.
    """
    length = incoming.header("content-length")
    if length is not None and length.isdecimal() and int(length[:20]) > most:
        raise too_large(most)
    coding = (incoming.header("content-encoding") or "identity").strip().lower()
    if coding != "identity":
        raise Problem("unsupported_type", "Content-Encoding: bodies are taken uncompressed only")
    has_body = length not in {None, "0"} or incoming.header("transfer-encoding") is not None
    if has_body and incoming.method not in {"GET", "HEAD"}:
        _check_kind(incoming)


def _check_kind(incoming: Incoming) -> None:
    kind = (incoming.header("content-type") or "").partition(";")[0].strip().lower()
    if kind in _KINDS or _JSON.fullmatch(kind):
        return
    if kind == _FORM and _FORMS.match(incoming.path):
        return
    raise Problem(
        "unsupported_type",
        "Content-Type: must be application/json, multipart/form-data, image/jpeg, image/png or "
        "image/webp",
    )


def _too_slow() -> Problem:
    return Problem("too_slow", "the body comes too slowly; send it again")


def too_large(most: int) -> Problem:
    """A body that is."""
    return Problem("too_large", f"the body may have {most} bytes here, and has more")


class Body:
    """A body on its way in.

    Args:
        receive: Where its pieces come from.
        most: Bytes it may have.
        room: Shared with all others.
        monotonic: Seconds.

    Attributes:
        is_whole: All of it has come.
    """

    def __init__(
        self,
        receive: Receive,
        most: int,
        room: Room,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._receive = receive
        self._most = most
        self._room = room
        self._monotonic = monotonic
        self._began_at = monotonic()
        self._size = 0
        self._receiver: asyncio.Task[Any] | None = None
        self._is_given_up = False
        self.is_whole = False

    @property
    def is_late(self) -> bool:
        """Whether it has taken longer than it may."""
        return self._monotonic() - self._began_at > GRACE_S + self._size / PACE

    def give_up(self) -> None:
        """Let whoever waits for it hear that it comes too slowly."""
        self._is_given_up = True
        if self._receiver is not None:
            self._receiver.cancel()

    async def receive(self) -> Message:
        """The next piece; once it is whole, whatever the connection says.

        Raises:
            Problem: It is too large or too slow, or there is no room.
        """
        if self.is_whole:
            return await self._receive()
        message = await self._receive_in_time()
        if message["type"] == "http.request":
            self._count(len(message.get("body", b"")))
            self.is_whole = not message.get("more_body", False)
        return message

    async def _receive_in_time(self) -> Message:
        if self.is_late:
            raise _too_slow()
        self._receiver = asyncio.current_task()
        self._room.watch(self)
        try:
            return await self._receive()
        except asyncio.CancelledError:
            # Somebody else may have cancelled it too.
            if self._is_given_up and self._receiver and not self._receiver.uncancel():
                raise _too_slow() from None
            raise
        finally:
            self._receiver = None
            self._room.leave(self)

    def _count(self, num_bytes: int) -> None:
        if self._size + num_bytes > self._most:
            raise too_large(self._most)
        self._room.take(num_bytes)
        self._size += num_bytes

    def release(self) -> None:
        """Its request has ended."""
        self._room.taken -= self._size
        self._size = 0
