"""Host names to addresses, without holding anything up.

A name in a frame can be anything, and its name server can be the sender's: a lookup may hang, fail
or answer nonsense, and that is the matter of whoever waits for it.
"""

import asyncio
import socket
from functools import partial
from threading import Thread

_MOST_LOOKUPS = 16  # threads; a lookup that hangs keeps one for half a minute


class SystemResolver:
    """The system's name lookup, in threads of its own.

    asyncio's default executor would let a few hanging lookups hold up everything else that uses it,
    and its threads are waited for when the process ends; these are not. Lookups of one name that
    overlap share one thread, so that a dead name server cannot collect them all for one host.
    """

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(_MOST_LOOKUPS)
        self._running: dict[tuple[str, int], asyncio.Task[list[str]]] = {}

    async def __call__(self, host: str, port: int) -> list[str]:
        """Look a name up.

        Raises:
            OSError: The name has no address, or nobody answers.
        """
        key = (host, port)
        lookup = self._running.get(key)
        if lookup is None:
            lookup = asyncio.create_task(self._look_up(host, port), name="name lookup")
            lookup.add_done_callback(partial(self._forget, key))
            self._running[key] = lookup
        return await asyncio.shield(lookup)

    def _forget(self, key: tuple[str, int], lookup: asyncio.Task[list[str]]) -> None:
        del self._running[key]
        if not lookup.cancelled():
            lookup.exception()  # seen, also when everyone who waited has left

    async def _look_up(self, host: str, port: int) -> list[str]:
        async with self._slots:
            loop = asyncio.get_running_loop()
            answer: asyncio.Future[list[str]] = loop.create_future()
            Thread(target=_ask, args=(host, port, loop, answer), daemon=True).start()
            return await answer


def _ask(
    host: str, port: int, loop: asyncio.AbstractEventLoop, answer: asyncio.Future[list[str]]
) -> None:
    addresses: list[str] = []
    failure: OSError | None = None
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [str(entry[4][0]) for entry in found]
    except OSError as error:
        failure = error
    except Exception as error:  # noqa: BLE001 - no name at all: whoever waits must hear of it
        failure = OSError(type(error).__name__)
    try:
        loop.call_soon_threadsafe(_settle, answer, addresses, failure)
    except RuntimeError:  # the loop has ended while this thread waited
        return


def _settle(
    answer: asyncio.Future[list[str]], addresses: list[str], failure: OSError | None
) -> None:
    if answer.done():
        return
    if failure is not None:
        answer.set_exception(failure)
    else:
        answer.set_result(addresses)
