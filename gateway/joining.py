"""Identical requests share one job: a client that tries again gets the answer of its first try.

Clients send a request again when they have waited too long, or when the connection broke: without
this the model would answer each try, and each would come too late. An answer is kept for a while
for those who try again after it came. A job of which nobody hears any more is cancelled, at once if
its callers hung up, a little later if they were sent away and told to come back.
"""

import asyncio
import hashlib
import json
import logging
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial

from gateway.backend import Backend, Frame
from gateway.problems import Problem
from schemas.result import ResultDocument

logger = logging.getLogger(__name__)

_LONGEST_S = 3600.0  # of a job: its callers are less patient, each in its own way
_KEPT_S = 300.0
_BACK_AFTER_S = 5.0  # a service that is started anew
_MOST_KEPT, _MOST_KEPT_BYTES = 256, 4 << 20
_IN_A_THREAD = 1 << 20  # bytes of a picture, which take a millisecond


def stopping() -> Problem:
    """What callers hear that wait while the service ends."""
    return Problem(
        "stopping",
        "the service is stopping; ask again when it is back",
        retry_after_s=_BACK_AFTER_S,
    )


class Joint:
    """A job under way, or its end, and those who wait for it.

    Attributes:
        text: What has been generated so far.
        document: Its result, once it is there.
        problem: Why there is none, once that is known.
        changed: Done when one of these has changed; another one then takes its place.
    """

    def __init__(self, document: ResultDocument | None = None) -> None:
        self.text = ""
        self.document = document
        self.problem: Problem | None = None
        self.changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None
        self._num_waiting = 0
        self._why: Problem | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self.document is not None or self.problem is not None

    def run(self, backend: Backend, frame: Frame, *, is_streamed: bool) -> "asyncio.Task[None]":
        """Begin to ask."""
        self._task = asyncio.create_task(self._ask(backend, frame, is_streamed), name="http ask")
        return self._task

    def enter(self) -> None:
        """One more waits."""
        self._num_waiting += 1

    def leave(self, grace_s: float) -> None:
        """One less waits; when nobody does for so long, the job is cancelled."""
        self._num_waiting -= 1
        if not self._num_waiting and not self.is_over:
            asyncio.get_running_loop().call_later(grace_s, self._cancel_if_unheard)

    def cancel(self, why: Problem | None = None) -> None:
        """End the job, whoever waits; they hear why."""
        if self._task is not None and not self.is_over:
            self._why = why
            self._task.cancel()

    def _cancel_if_unheard(self) -> None:
        if not self._num_waiting:
            self.cancel()

    async def _ask(self, backend: Backend, frame: Frame, is_streamed: bool) -> None:
        asking = backend.ask(frame, _LONGEST_S, self._hear if is_streamed else None)
        del frame  # its picture is not kept while the answer is waited for
        try:
            self.document = await asking
        except Problem as problem:
            self.problem = problem
        except asyncio.CancelledError:
            self.problem = self._why or Problem(
                "cancelled", "nobody waited for the answer any more"
            )
            raise
        except Exception:
            logger.exception("a question over HTTP cannot be answered")
            self.problem = Problem("internal", "an unexpected error; the log has it")
        finally:
            self._change()

    def _hear(self, piece: str) -> None:
        self.text += piece
        self._change()

    def _change(self) -> None:
        changed, self.changed = self.changed, asyncio.get_running_loop().create_future()
        changed.set_result(None)


@dataclass(frozen=True, slots=True)
class _Kept:
    document: ResultDocument
    num_bytes: int
    until: float  # on the loop's clock


class Joints:
    """What is under way, and answers of the last minutes.

    Args:
        backend: Answers.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._under_way: dict[bytes, Joint] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()  # the oldest first
        self._num_bytes = 0
        self._is_closed = False

    async def join(self, caller: str, frame: Frame, *, is_streamed: bool) -> Joint:
        """The job of a request, which is that of an identical one if there is one.

        Who gets it has entered it.

        Raises:
            Problem: `stopping`.
        """
        key = await _key_of(caller, frame, is_streamed=is_streamed)
        if self._is_closed:
            raise stopping()
        self._forget()
        if (kept := self._kept.get(key)) is not None:
            joint = Joint(kept.document)
        elif (joint_ := self._under_way.get(key)) is not None:
            joint = joint_
        else:
            joint = self._under_way[key] = Joint()
            task = joint.run(self._backend, frame, is_streamed=is_streamed)
            self._tasks.add(task)
            # What is behind an address may be another picture by then.
            is_lasting = frame.fields.get("frame_url") is None
            task.add_done_callback(partial(self._end, key, joint, is_lasting))
        joint.enter()
        return joint

    async def close(self) -> None:
        """End all that is under way; nothing begins any more."""
        self._is_closed = True
        for joint in self._under_way.values():
            joint.cancel(stopping())
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _end(self, key: bytes, joint: Joint, is_lasting: bool, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if self._under_way.get(key) is joint:
            del self._under_way[key]
        if joint.document is None or not is_lasting:
            return
        num_bytes = len(joint.document.model_dump_json())
        until = asyncio.get_running_loop().time() + _KEPT_S
        self._kept[key] = _Kept(joint.document, num_bytes, until)
        self._num_bytes += num_bytes
        self._forget()

    def _forget(self) -> None:
        """Keep no answer too long, and not too many of them."""
        now = asyncio.get_running_loop().time()
        while self._kept:
            key, oldest = next(iter(self._kept.items()))
            is_room = len(self._kept) <= _MOST_KEPT and self._num_bytes <= _MOST_KEPT_BYTES
            if is_room and oldest.until > now:
                return
            del self._kept[key]
            self._num_bytes -= oldest.num_bytes


async def _key_of(caller: str, frame: Frame, *, is_streamed: bool) -> bytes:
    """The same for identical requests: of one caller, the same way, about the same picture.

    An id that the caller gave stands for the rest.
    """
    said: object = frame.fields.get("job_id")
    picture: bytes = b""
    if said is None:
        said, picture = frame.fields, frame.image or b""
    num_bytes = frame.num_bytes
    digest = partial(_digest, (caller, frame.origin, is_streamed, said), picture)
    del frame, said
    return digest() if num_bytes < _IN_A_THREAD else await asyncio.to_thread(digest)


def _digest(said: object, picture: bytes) -> bytes:
    text = json.dumps(said, sort_keys=True, default=repr).encode()
    return hashlib.blake2b(picture, digest_size=16, key=hashlib.sha256(text).digest()).digest()
