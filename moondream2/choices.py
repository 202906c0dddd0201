"""Choosing: how probable each of some answers is under the model, exactly.

Nothing is sampled and nothing depends on the order of the choices. An answer is its tokens and the
stop token behind them; the ways to write it are added up.
"""

import math
from collections import deque
from collections.abc import Sequence

from moondream2.branches import Branches
from moondream2.row import Head, Row
from moondream2.sampling import Picking
from moondream2.tasks import ChoiceAnswer, Choose
from moondream2.tokens import Feed, PromptError, Tokenizer


class ChoiceRow(Row):
    """How probable each of some answers is.

    Every spelling of every choice is tried behind the prompt, as many in one pass as may be. The
    last token of the prompt is the root of each pass: the first token of a choice is read from it.

    Args:
        prompt: What the model reads first; its last token is no place in the picture.
        spellings: Token ids of each way to write each choice.
        suppressed: Ids that are impossible behind the first token of an answer.
        has_image: The prompt follows the prefix of a frame.
    """

    def __init__(
        self,
        prompt: tuple[Feed, ...],
        spellings: Sequence[Sequence[tuple[int, ...]]],
        suppressed: tuple[int, ...],
        *,
        has_image: bool,
    ) -> None:
        super().__init__(prompt[:-1], has_image=has_image)
        assert isinstance(prompt[-1], int), "choices follow a token"
        self.head = Head.BRANCHES
        self._root: int = prompt[-1]
        self._suppressed = suppressed
        self._waiting = deque((i, ids) for i, ways in enumerate(spellings) for ids in ways)
        self._tried: list[int] = []  # choices, of the sequences of this pass
        #: Logarithms of the probabilities of the spellings of each choice.
        self._logs: list[list[float]] = [[] for _ in spellings]

    @property
    def num_positions(self) -> int:
        """Feeds, root, and the longest sequence."""
        return len(self.feeds) + 1 + max((len(ids) for _, ids in self._waiting), default=0)

    @property
    def picking(self) -> Picking:
        """What cannot follow the first token of an answer."""
        return Picking(suppressed=self._suppressed)

    def branch(self, room: int) -> None:
        """Try as many sequences as fit; with room for `num_positions` that is at least one."""
        tried: list[tuple[int, ...]] = []
        self._tried = []
        room -= 1  # the root
        while self._waiting and len(self._waiting[0][1]) <= room:
            choice, ids = self._waiting.popleft()
            room -= len(ids)
            tried.append(ids)
            self._tried.append(choice)
        self.branches = Branches.of(self._root, tried) if tried else None

    def take_scores(self, scores: Sequence[float]) -> None:
        """Add what was tried to its choices."""
        assert self.branches is not None, "nothing was tried"
        for choice, log in zip(self._tried, self.branches.weigh(scores), strict=True):
            self._logs[choice].append(log)
        self.branches = None
        if not self._waiting:
            self.stop("chosen")

    def answer(self) -> ChoiceAnswer:
        """Return the share of each choice."""
        assert not self._waiting, "the row has not ended"
        logs = [_log_sum(ways) for ways in self._logs]
        total = _log_sum(logs)
        return ChoiceAnswer(tuple(math.exp(log - total) for log in logs))


def choice_row(task: Choose, tokenizer: Tokenizer, *, has_image: bool) -> ChoiceRow:
    """Return the row of a choose task at its beginning.

    Raises:
        PromptError: There is nothing to choose from, or the model cannot write it.
    """
    if not task.choices:
        raise PromptError("there is nothing to choose from")
    config = tokenizer.config
    separator = config.tokens.answer
    suppressed = () if separator is None or not config.release.suppression else (separator,)
    spellings = [tokenizer.spellings(choice) for choice in task.choices]
    prompt = tokenizer.prompt(task, has_image=has_image)
    return ChoiceRow(prompt, spellings, suppressed, has_image=has_image)


def _log_sum(logs: Sequence[float]) -> float:
    """Logarithm of a sum of numbers that are given by theirs."""
    most = max(logs)
    return most + math.log(math.fsum(math.exp(log - most) for log in logs))
