"""The life of one task between its prompt and its answer.

A row says what the language model reads next and what is made of the last thing it read: a token,
a coordinate, a size, or how probable some answers are. It takes the choice and decides what
follows. No torch here: rows of any kind advance in the same pass because only the engine knows
about tensors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from moondream2.branches import Branches
from moondream2.sampling import Pick, Picking
from moondream2.tasks import Answer
from moondream2.tokens import Feed


class Head(Enum):
    """What is decoded from the hidden state of the last position."""

    TEXT = "text"
    COORDINATE = "coordinate"
    SIZE = "size"
    #: From those of all branches: how probable they are.
    BRANCHES = "branches"


@dataclass(frozen=True, slots=True)
class Choice:
    """The likeliest bin of a coordinate or of one side of a size."""

    bin: int
    #: What the bin stands for, in 0..1.
    value: float
    probability: float


class Row:
    """What all rows have in common.

    Args:
        prompt: What the model reads first.
        has_image: The prompt follows the prefix of a frame.
    """

    def __init__(self, prompt: tuple[Feed, ...], *, has_image: bool) -> None:
        self.has_image = has_image
        #: What the model reads next, at least one.
        self.feeds: list[Feed] = list(prompt)
        #: Decoded next; from a new hidden state when there are feeds, otherwise from the same one.
        self.head = Head.TEXT
        #: Tried in the next pass, as if each followed the feeds alone, and then forgotten.
        self.branches: Branches | None = None
        self.stop_reason: str | None = None

    @property
    def is_done(self) -> bool:
        """Nothing more will be read."""
        return self.stop_reason is not None

    @property
    def num_positions(self) -> int:
        """Positions that the next pass needs at least."""
        return len(self.feeds)

    @property
    def num_left(self) -> int:
        """Tokens that can still be picked, each of which is read, whatever it is, before another.

        0 where it depends on the token what follows.
        """
        return 0

    @property
    def picking(self) -> Picking:
        """How the next token is picked."""
        return Picking()

    def branch(self, room: int) -> None:
        """Decide what is tried in the next pass, in at most `room` tokens."""

    def take_token(self, pick: Pick) -> str:
        """Take a picked token and return the piece of text that can be shown, if any."""
        raise NotImplementedError

    def take_coordinate(self, choice: Choice) -> None:
        """Take a coordinate."""
        raise NotImplementedError

    def take_size(self, width: Choice, height: Choice) -> None:
        """Take a size."""
        raise NotImplementedError

    def take_scores(self, scores: Sequence[float]) -> None:
        """Take the logarithms of the probabilities of the steps of the branches."""
        raise NotImplementedError

    def stop(self, reason: str) -> str:
        """End the row and return the rest of the text, if any."""
        self.stop_reason = reason
        self.feeds = []
        return ""

    def answer(self) -> Answer:
        """Return the answer of an ended row."""
        raise NotImplementedError
