"""What must be stored is tried until it is; what is no matter of the store is not."""

import asyncio
import logging

import pytest

from service.errors import StoreError, StoreFullError
from service.store.retry import until_stored
from tests.support.checker import until


class Refusing:
    """A store that refuses as often as it is told to."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.num_tries = 0

    async def work(self) -> int:
        self.num_tries += 1
        if self._errors:
            raise self._errors.pop(0)
        return self.num_tries


async def test_refusals_are_outlived_and_named(caplog: pytest.LogCaptureFixture) -> None:
    store = Refusing(StoreError("locked"), StoreFullError("disk full"))
    with caplog.at_level(logging.ERROR):
        assert await until_stored(store.work, "an end cannot be stored") == 3
    assert [record.getMessage() for record in caplog.records] == [
        "an end cannot be stored, again in 0.1 s: locked",
        "an end cannot be stored, again in 0.2 s: disk full",
    ]


async def test_unexpected_error_is_not_retried() -> None:
    store = Refusing(ValueError("a mistake"))
    with pytest.raises(ValueError, match="a mistake"):
        await until_stored(store.work, "an end cannot be stored")
    assert store.num_tries == 1


async def test_cancellation_ends_the_tries() -> None:
    store = Refusing(*[StoreError("locked")] * 100)
    task = asyncio.create_task(until_stored(store.work, "an end cannot be stored"))
    await until(lambda: store.num_tries == 2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
