"""Makes pictures small, in a child: because only a child decodes pixels.

One child, started when it is first needed and ended after a while without questions; one that dies,
or takes too long, is started anew with the next question.
"""

import asyncio
import json
import os
import struct
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass

from engine.images import ImageLimits
from service.engines.child import child_environment

_HEAD = struct.Struct(">II")
_SIZE = struct.Struct(">I")
_LONGEST_S = 15.0  # starting Python on a busy machine; a picture takes some 20 ms
_IDLE_S = 60.0
_MOST_BYTES = 16 << 20  # of an answer


@dataclass(frozen=True, slots=True)
class _Child:
    process: asyncio.subprocess.Process
    questions: int  #: descriptors of ours
    answers: int


class Shrinker:
    """Asks the child.

    Args:
        limits: What a picture may be.
    """

    def __init__(self, limits: ImageLimits) -> None:
        self._limits = limits
        self._turn = asyncio.Lock()
        self._child: _Child | None = None
        self._ending: asyncio.TimerHandle | None = None

    @property
    def pid(self) -> int | None:
        """Of the child; None: there is none."""
        return None if self._child is None else self._child.process.pid

    async def shrink(self, picture: bytes, width: int) -> bytes | None:
        """A JPEG of at most a width; None when the picture cannot be decoded."""
        async with self._turn:
            if self._ending is not None:
                self._ending.cancel()
            child = self._child or await self._start()
            asking = asyncio.create_task(asyncio.to_thread(_ask, child, picture, width))
            try:
                async with asyncio.timeout(_LONGEST_S):
                    jpeg = await asyncio.shield(asking)
            except (OSError, EOFError, TimeoutError):
                jpeg = b""
                await self._end(asking)
            except asyncio.CancelledError:
                await self._end(asking)
                raise
            loop = asyncio.get_running_loop()
            self._ending = loop.call_later(_IDLE_S, self._let_go)
            return jpeg or None

    async def close(self) -> None:
        """End the child."""
        if self._ending is not None:
            self._ending.cancel()
        async with self._turn:
            await self._end(None)

    async def _start(self) -> _Child:
        question_out, question_in = os.pipe()
        answer_out, answer_in = os.pipe()
        limits = json.dumps(asdict(self._limits))
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "engine.shrinking", str(question_out), str(answer_in), limits),
                pass_fds=(question_out, answer_in),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for us
                env=child_environment(),
            )
        except BaseException:
            os.close(question_in)
            os.close(answer_out)
            raise
        finally:
            os.close(question_out)
            os.close(answer_in)
        self._child = _Child(process, question_in, answer_out)
        return self._child

    async def _end(self, asking: "asyncio.Task[bytes] | None") -> None:
        child, self._child = self._child, None
        if child is None:
            return
        with suppress(ProcessLookupError):
            child.process.kill()
        await child.process.wait()
        if asking is not None:
            await asyncio.wait([asking])  # ends, now that nobody is at the other end
            asking.exception()
        os.close(child.questions)
        os.close(child.answers)

    def _let_go(self) -> None:
        """It ends by itself when nothing more can be asked."""
        if self._child is None or self._turn.locked():
            return
        child, self._child = self._child, None
        os.close(child.questions)
        os.close(child.answers)


def _ask(child: _Child, picture: bytes, width: int) -> bytes:
    """Blocks.

    Raises:
        OSError, EOFError: The child is gone.
    """
    question = memoryview(_HEAD.pack(width, len(picture)) + picture)
    while question:
        question = question[os.write(child.questions, question) :]
    [size] = _SIZE.unpack(_read(child.answers, _SIZE.size))
    if size > _MOST_BYTES:
        raise EOFError
    return _read(child.answers, size)


def _read(descriptor: int, size: int) -> bytes:
    found = bytearray()
    while len(found) < size:
        if not (piece := os.read(descriptor, size - len(found))):
            raise EOFError
        found += piece
    return bytes(found)
