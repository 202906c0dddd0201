"""The way to every operation: by name, checked, with an error that says what is wrong.

Whoever brings requests (MQTT, HTTP) translates them to a name and a dictionary, and the answer or
the `OperationError` back; nothing else of an operation is known outside.
"""

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

from broker.codec import PayloadError, validate
from schemas.job import ErrorDetail
from schemas.requests.envelope import Answer
from schemas.requests.operation import Bound, Operation
from service.errors import UNEXPECTED, ServiceError, StoreError

logger = logging.getLogger(__name__)

ANSWER_WITHIN_S = 10.0


class OperationError(ServiceError):
    """What was asked for cannot be done.

    Args:
        code: For programs; one of `schemas.requests.codes`.
        message: For people; names the field or the state that is in the way.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    @property
    def detail(self) -> ErrorDetail:
        """As it travels."""
        return ErrorDetail(code=self.code, message=str(self))


class Operations:
    """Every operation there is, with the function that does it.

    Args:
        bound: Of all parts that have some.
    """

    def __init__(self, bound: Iterable[Bound]) -> None:
        self._bound = {each.operation.name: each for each in bound}

    @property
    def names(self) -> list[str]:
        """In alphabetical order."""
        return sorted(self._bound)

    def find(self, name: str) -> Operation[Any, Any]:
        """The operation of a name.

        Raises:
            OperationError: `unknown_operation`.
        """
        if (bound := self._bound.get(name)) is None:
            known = ", ".join(self.names)
            raise OperationError("unknown_operation", f"{name[:64]!r} is none of {known}")
        return bound.operation

    async def call(self, name: str, content: dict[str, Any]) -> Answer:
        """Do what is asked for.

        What takes longer than ten seconds goes on, and nobody hears of its end.

        Raises:
            OperationError: It cannot be done, or there is no answer in time.
        """
        operation = self.find(name)
        try:
            request = validate(operation.request, content)
        except PayloadError as error:
            raise OperationError("bad_request", str(error)) from error
        work = asyncio.ensure_future(self._bound[name].run(request))
        done, _ = await asyncio.wait({work}, timeout=ANSWER_WITHIN_S)
        if not done:
            work.add_done_callback(_note_late_failure)
            raise OperationError("timeout", f"no answer within {ANSWER_WITHIN_S:.0f} s")
        return _outcome(work, name)


def _outcome(work: "asyncio.Future[Answer]", name: str) -> Answer:
    try:
        return work.result()
    except OperationError:
        raise
    except StoreError as error:
        raise OperationError("store", str(error)) from error
    except Exception as error:
        logger.exception("%s failed", name, extra={"action": "unexpected_error"})
        raise OperationError("internal", UNEXPECTED) from error


def _note_late_failure(work: "asyncio.Future[Answer]") -> None:
    if not work.cancelled() and (error := work.exception()) is not None:
        logger.warning("a request that took too long failed in the end: %s", type(error).__name__)
