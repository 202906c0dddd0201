"""What an operation is: a name, the type of its request, the type of its answer.

MQTT, HTTP and the command line are made from this; none of them knows a single operation by name.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from schemas.requests.envelope import Answer, Request

Q = TypeVar("Q", bound=Request)
A = TypeVar("A", bound=Answer)

MAX_REQUEST_BYTES = 256 * 1024
ANSWER_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Operation(Generic[Q, A]):
    """One line of the contract."""

    name: str  #: e.g. `job/get`
    request: type[Q]
    answer: type[A]
    description: str
    example: dict[str, Any] = field(default_factory=dict)  #: a request
    max_bytes: int = MAX_REQUEST_BYTES  #: of a request
    answer_within_s: float = ANSWER_WITHIN_S  #: else the answer is `timeout`
    array_field: str | None = None  #: its elements are handed on unread, as bytes
    waits_for_others: bool = False  #: most of its time is another machine's

    @property
    def group(self) -> str:
        """What it belongs to: `job`, `queue`; of a name without a slash, the name."""
        return self.name.partition("/")[0]

    @property
    def is_patient(self) -> bool:
        """Whether it waits for what takes long, and must not hold others up meanwhile."""
        return self.waits_for_others or "timeout" in self.request.model_fields

    @property
    def bare_field(self) -> str | None:
        """The field that a request without braces stands for: the only one that is required."""
        required = [name for name, each in self.request.model_fields.items() if each.is_required()]
        return required[0] if len(required) == 1 else None

    def bind(self, run: Callable[[Q], Awaitable[A]]) -> "Bound":
        """This operation with the function that does it."""
        return Bound(self, run)


@dataclass(frozen=True, slots=True)
class Bound:
    """An operation and what does it."""

    operation: Operation[Any, Any]
    run: Callable[[Any], Awaitable[Answer]]
