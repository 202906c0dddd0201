"""The way to every operation: by name, checked, with an error that says what is wrong.

Whoever brings requests (MQTT, HTTP) translates them to a name and a dictionary, and the answer or
the `OperationError` back; nothing else of an operation is known outside.
"""

import asyncio
import logging
from collections.abc import Awaitable, Iterable
from typing import Any

from broker.codec import PayloadError, validate
from schemas.job import ErrorDetail
from schemas.requests.envelope import Answer
from schemas.requests.operation import Bound, Operation
from service.errors import UNEXPECTED, ServiceError, StoreError

logger = logging.getLogger(__name__)


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

    def is_patient(self, name: str) -> bool:
        """Whether the answer may take long; what there is not is answered at once."""
        return name in self._bound and self._bound[name].operation.is_patient

    async def call(self, name: str, content: dict[str, Any]) -> Answer:
        """Do what is asked for.

        What takes longer than its operation allows goes on, and nobody hears of its end.

        Args:
            name: Of the operation.
            content: The request's fields; taken out, so that no picture is kept while its caption
                is waited for.

        Raises:
            OperationError: It cannot be done, or there is no answer in time.
        """
        operation = self.find(name)
        work = asyncio.ensure_future(self._begin(name, content))
        try:
            done, _ = await asyncio.wait({work}, timeout=operation.answer_within_s)
        except asyncio.CancelledError:  # the service stops
            work.cancel()
            raise
        if not done:
            work.add_done_callback(_note_late_failure)
            raise OperationError("timeout", f"no answer within {operation.answer_within_s:.0f} s")
        return _outcome(work, name)

    def _begin(self, name: str, content: dict[str, Any]) -> Awaitable[Answer]:
        """Start what is asked for.

        Raises:
            OperationError: `bad_request`.
        """
        bound = self._bound[name]
        try:
            request = validate(bound.operation.request, content)
        except PayloadError as error:
            raise OperationError("bad_request", str(error)) from error
        content.clear()
        return bound.run(request)


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
