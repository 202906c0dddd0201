"""What is decided from hidden states: tokens, probabilities, coordinates and sizes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from moondream2.branches import Branches
from moondream2.model import Moondream
from moondream2.row import Choice
from moondream2.sampling import (
    Picking,
    Picks,
    Suppression,
    log_probabilities,
    pick_bins,
    pick_tokens,
)


class Heads:
    """The heads of a model.

    Args:
        model: Ready for inference.
    """

    def __init__(self, model: Moondream) -> None:
        self._model, self._suppress = model, Suppression()

    def tokens(self, hidden: Tensor, rows: Sequence[Picking]) -> Picks:
        """Pick a token for each hidden state: (n, W) and n ways to pick."""
        logits, stop = self._model.text.logits(hidden), self._model.config.tokens.eos
        return pick_tokens(logits, rows, stop, self._suppress)

    def scores(self, hidden: Tensor, branches: Branches, later: Picking) -> list[float]:
        """Return the logarithms of the probabilities of the steps of branches.

        Args:
            hidden: (n, W), one for each of their tokens.
            branches: What was tried.
            later: How tokens behind the first one are picked.
        """
        rows = [Picking(), *[later] * (len(branches) - 1)]
        steps = branches.steps(self._model.config.tokens.eos)
        return log_probabilities(self._model.text.logits(hidden), rows, steps, self._suppress)

    def coordinates(self, hidden: Tensor) -> list[Choice]:
        """Pick a coordinate for each hidden state, (n, W)."""
        bins, chances = pick_bins(self._model.region.coordinate_logits(hidden))  # each (n,)
        return _choices(bins, self._model.region.coordinate_value(bins), chances)

    def sizes(self, hidden: Tensor) -> list[tuple[Choice, Choice]]:
        """Pick width and height for each hidden state, (n, W)."""
        bins, chances = pick_bins(self._model.region.size_logits(hidden))  # each (n, 2)
        values = self._model.region.size_value(bins)
        sides = _choices(bins.flatten(), values.flatten(), chances.flatten())
        return list(zip(sides[::2], sides[1::2], strict=True))


def _choices(bins: Tensor, values: Tensor, chances: Tensor) -> list[Choice]:
    """Bring picked bins to Python in one transfer: each (n,)."""
    table = torch.stack((bins.float(), values.float(), chances.float())).tolist()
    return [Choice(int(bin_), value, chance) for bin_, value, chance in zip(*table, strict=True)]
