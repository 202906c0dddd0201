"""What the engine holds of a request, and of a task that runs in a slot."""

import math
import time
from dataclasses import dataclass, field
from enum import Enum, auto

from torch import Tensor

from moondream2.beside import Ahead
from moondream2.config import TextConfig
from moondream2.crops import Crops
from moondream2.encoding import Encoding
from moondream2.feeds import Picked
from moondream2.row import Row
from moondream2.rows import row_of
from moondream2.tasks import Answer, Request, Timings
from moondream2.tokens import PromptError, Tokenizer


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
    #: Its frame, while it is encoded in parts.
    encoding: Encoding | None = None
    #: Its frame and those beside it, while it is encoded beside rows; and which of them it is.
    ahead: tuple[Ahead, int] | None = None
    #: Of its first task, where the prompt was read with the frame: (1, W) output of the last token.
    read_ahead: tuple[int, Tensor] | None = None

    @property
    def crops(self) -> Crops:
        """Those of its frame, which it must have."""
        assert self.request.crops is not None, "only frames are encoded"
        return self.request.crops

    def time_first_token(self) -> None:
        """Note the time of the first thing decided of it."""
        if self.first_token_seconds is None:
            self.first_token_seconds = time.monotonic() - self.submitted_at

    def timings(self, num_steps: int) -> Timings:
        """Return its times, now that it is over; `num_steps` of the engine so far."""
        total = time.monotonic() - self.submitted_at
        first = total if self.first_token_seconds is None else self.first_token_seconds
        return Timings(self.encode_seconds, first, total, num_steps - self.submitted_in)


class Token(Enum):
    """What is known of the last token that was picked for a row."""

    #: The row has taken it, or there is none.
    TAKEN = auto()
    #: It is on the device.
    PICKED = auto()
    #: It is on the device, and has been read there.
    READ = auto()


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
    hidden: Tensor | None = None  # (1, W), of a prompt that was read with the frame
    is_spoilt: bool = False  # what was computed for it is no number
    token: Token = Token.TAKEN
    picked: Picked | None = None  # that token, until the row takes it

    def is_sound(self, *found: float) -> bool:
        """Whether what was computed for it are numbers; notes it when not."""
        self.is_spoilt = any(map(math.isnan, found))
        return not self.is_spoilt


def check(request: Request, tokenizer: Tokenizer) -> None:
    """Raise PromptError for what the model of a tokenizer cannot do."""
    if not request.tasks:
        raise PromptError("a request needs a task")
    if request.max_tokens < 1 or request.max_objects < 1:
        raise PromptError("max_tokens and max_objects must be at least 1")
    if request.temperature < 0 or not 0 <= request.top_p <= 1:
        raise PromptError("temperature must not be negative, top_p must be in 0..1")
    config = tokenizer.config.text
    room = config.max_context - prefix_length(request, config)
    for index in range(len(request.tasks)):
        length = row_of(request, index, tokenizer).num_positions
        if length > room:
            raise PromptError(f"the prompt has {length} tokens, there is room for {room}")


def prefix_length(request: Request, config: TextConfig) -> int:
    """Return how many positions its frame takes."""
    return 0 if request.crops is None else config.prefix_length
