"""Requests begin by turns: a few in each round of the event loop, and the loop rests in between.

MQTT shares the loop, and the database's threads share the interpreter with it. A frame takes many
rounds of both from its arrival to its caption, and each would wait for every request that had come
by then.
"""

import asyncio
from collections import deque

# More at once, or a shorter rest, answers more of a flood and delays frames: without a rest a
# critical one took 1.4 times as long, see docs/decisions/0065.
_PER_ROUND = 2
_REST = 3.0
# Frames that are handed over are what the service is for, and intake takes together what came
# while its last group was committed: with a rest in between, its groups were of two frames. So
# many keep a round within the time that MQTT's frames may take of it.
_FRAMES_PER_ROUND = 8


class Turns:
    """Whose turn it is, in order of arrival.

    Args:
        per_round: Requests that begin in one round.
        rest: How long the loop rests where more are waiting, as a share of what the round took.
    """

    def __init__(self, per_round: int = _PER_ROUND, rest: float = _REST) -> None:
        self._per_round = per_round
        self._rest = rest
        self._left = per_round
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_counting = False
        self._began_at = 0.0

    async def take(self) -> None:
        """Return when it is this request's turn; at once where there are few."""
        loop = asyncio.get_running_loop()
        if not self._is_counting:
            self._is_counting = True
            self._began_at = loop.time()
            loop.call_soon(self._end_round, loop)
        if self._left and not self._waiting:
            self._left -= 1
            return
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append(turn)
        await turn

    def _end_round(self, loop: asyncio.AbstractEventLoop) -> None:
        """The requests of a round have begun."""
        if self._waiting:
            took_s = loop.time() - self._began_at
            loop.call_later(took_s * self._rest, self._begin_round, loop)
        else:
            self._left, self._is_counting = self._per_round, False

    def _begin_round(self, loop: asyncio.AbstractEventLoop) -> None:
        self._began_at = loop.time()
        self._left = self._per_round
        while self._left and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # its request was given up meanwhile
                turn.set_result(None)
                self._left -= 1
        loop.call_soon(self._end_round, loop)  # behind those that were called just now


def turns_of_frames() -> Turns:
    """For frames that are handed over: a few in a round, and no rest."""
    return Turns(_FRAMES_PER_ROUND, rest=0.0)
