"""What the engine holds of a request, and of a task that runs in a slot."""

import math
from dataclasses import dataclass, field

from moondream2.row import Row
from moondream2.tasks import Answer, Request


@dataclass(slots=True)
class Work:
    """A request that is held."""

    request: Request
    submitted_at: float
    submitted_in: int  # step
    answers: dict[int, Answer] = field(default_factory=dict)
    num_sent: dict[int, int] = field(default_factory=dict)  # characters in pieces, by task
    is_started: bool = False
    encode_seconds: float = 0.0
    first_token_seconds: float | None = None


@dataclass(slots=True)
class Live:
    """A task that runs in a slot."""

    key: str
    task: int
    slot: int
    row: Row
    length: int  # positions of the slot that are filled
    num_shown: int = 0  # characters of this run's pieces
    tried_in: int = 0  # step in which it last tried choices
    is_spoilt: bool = False  # what was computed for it is no number

    def is_sound(self, *found: float) -> bool:
        """Whether what was computed for it are numbers; notes it when not."""
        self.is_spoilt = any(map(math.isnan, found))
        return not self.is_spoilt
