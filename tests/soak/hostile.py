"""Hostile messages beside the load of the soak: the whole corpus in every way, then new mixtures.

What must become of each is judged by `tests.hostile`; here they only must harm nothing else.
"""

import asyncio
import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import count

from tests.hostile.case import BASE
from tests.hostile.corpus import corpus
from tests.hostile.families.mixtures import mixtures
from tests.hostile.trial import Names, Trial, fill, plan
from tests.hostile.wire import Protocol, Publication, RawClient, RefusedError

_NUM_CAMERAS = 20
_NUM_MIXTURES = 1000  # of one seed
_TIMEOUT_S = 10.0  # the broker may be away


class Harasser:
    """Sends one hostile message after the other.

    Args:
        port: Of the broker.
        base: Base topic of the service.
        seed: Of the order and the mixtures.

    Attributes:
        num_sent: Messages that the broker has taken or refused.
    """

    def __init__(self, port: int, base: str, seed: int) -> None:
        self.num_sent = 0
        self._port = port
        self._messages = _messages(base.encode(), random.Random(seed))

    async def send_one(self) -> None:
        """Over a connection of its own, since the broker cuts off who sends some of them."""
        protocol, publication = next(self._messages)
        name = f"harasser-{self.num_sent}"
        try:
            async with asyncio.timeout(_TIMEOUT_S), RawClient(self._port, protocol, name) as client:
                await client.publish(publication)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            return  # the broker has been restarted
        except RefusedError:
            pass
        self.num_sent += 1


def _messages(base: bytes, rng: random.Random) -> Iterator[tuple[Protocol, Publication]]:
    for number, trial in enumerate(_trials(rng)):
        camera, other = (f"host-{rng.randrange(_NUM_CAMERAS):03d}" for _ in range(2))
        names = Names(camera, other, f"one-{number:08d}", 10_000)
        for shot in trial.case.shots:
            sent = fill(shot, names, trial.qos)
            # Elsewhere they would be news of the service to the checker.
            if shot.packet is None and shot.topic.endswith("/frame"):
                topic = base + sent.publication.topic.removeprefix(BASE.encode())
                yield trial.protocol, replace(sent.publication, topic=topic)


def _trials(rng: random.Random) -> Iterator[Trial]:
    trials = plan(corpus(), is_full=True)
    rng.shuffle(trials)
    yield from trials
    for seed in count(rng.randrange(1 << 30)):
        yield from plan({"mixtures": list(mixtures(seed, _NUM_MIXTURES))}, is_full=True)
