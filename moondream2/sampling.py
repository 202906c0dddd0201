"""Choosing tokens and bins from logits.

Arithmetic is float32 whatever the model runs in, and a row's choice depends on its own logits and
its own generator alone. Probabilities that are reported are those of the model: of the raw logits
after suppression, before temperature and top-p.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from moondream2.staging import FromDevice, to_device

#: Probabilities are floored here, so that one impossible token does not make a mean undefined.
_FLOOR = 1e-30
#: Colder than this is greedy: the likeliest token is certain, and dividing by less leaves the range
#: of float32.
_COLDEST = 1e-3


@dataclass(frozen=True, slots=True)
class Picking:
    """How one row picks its token."""

    #: 0 is greedy.
    temperature: float = 0.0
    top_p: float = 1.0
    #: Ids that are never picked.
    suppressed: tuple[int, ...] = ()
    #: On the CPU, of this row alone; needed unless greedy.
    generator: torch.Generator | None = None


@dataclass(frozen=True, slots=True)
class Pick:
    """A picked token."""

    token: int
    #: Of the token.
    probability: float
    #: Of the stop token.
    stop_probability: float


class Picks:
    """Picked tokens: where they were picked at once, and here when they are asked for.

    Args:
        tokens: (N,) ids on the device.
        table: (3, N) of each its id, its probability and that of the stop token, in float32.
    """

    def __init__(self, tokens: Tensor, table: Tensor) -> None:
        self.tokens = tokens
        self._told = FromDevice(table)

    def __len__(self) -> int:
        return len(self.tokens)

    def told(self) -> list[Pick]:
        """Wait for them, and return them."""
        rows = zip(*self._told.wait(), strict=True)
        return [Pick(int(token), own, stop) for token, own, stop in rows]


class Suppression:
    """Makes ids impossible. Where all rows want the same, by a mask that stays on the device."""

    def __init__(self) -> None:
        self._masks: dict[tuple[int, ...], Tensor] = {}  # (V,), by the few sets there are

    def __call__(self, scores: Tensor, rows: Sequence[Picking]) -> Tensor:
        """Return scores with each row's suppressed ids impossible: (N, V) of N rows."""
        kinds = {row.suppressed for row in rows}
        if len(kinds) == 1:
            (ids,) = kinds
            return scores.masked_fill(self._mask(ids, scores), -torch.inf) if ids else scores
        pairs = [(index, token) for index, row in enumerate(rows) for token in row.suppressed]
        rows_at, tokens_at = to_device(pairs, scores.device).T  # each (pairs,)
        impossible = scores.new_full((), -torch.inf)
        return scores.index_put((rows_at, tokens_at), impossible)

    def _mask(self, ids: tuple[int, ...], scores: Tensor) -> Tensor:
        if ids not in self._masks:
            mask = torch.zeros(scores.shape[-1], dtype=torch.bool, device=scores.device)
            mask[to_device(ids, scores.device)] = True
            self._masks[ids] = mask
        return self._masks[ids]


def generator(seed: int, task_index: int) -> torch.Generator:
    """Return the generator of one task; tasks of equal seed draw different numbers."""
    return torch.Generator().manual_seed((seed * 1_000_003 + task_index) % 2**63)


def pick_tokens(logits: Tensor, rows: Sequence[Picking], stop: int, suppress: Suppression) -> Picks:
    """Pick one token for each row.

    Args:
        logits: (N, V) raw logits, left as they are.
        rows: N ways to pick.
        stop: Id of the stop token.
        suppress: Of the same model.
    """
    assert len(logits) == len(rows), f"{len(logits)} rows of logits for {len(rows)} rows"
    scores = suppress(logits.float(), rows)
    tokens = scores.argmax(-1)  # (N,)
    if drawn := [index for index, row in enumerate(rows) if row.temperature >= _COLDEST]:
        places = to_device(drawn, logits.device)
        tokens[places] = _draw(scores[places], [rows[index] for index in drawn])
    chances = scores.softmax(-1)
    own = chances.gather(1, tokens[:, None])[:, 0]
    # One transfer for all three; float32 holds ids below 2^24 exactly. MPS has no float64.
    assert logits.shape[-1] <= 1 << 24, "a vocabulary whose ids float32 cannot hold"
    return Picks(tokens, torch.stack((tokens.float(), own, chances[:, stop])))


def log_probabilities(
    logits: Tensor,
    rows: Sequence[Picking],
    steps: Sequence[tuple[int, int]],
    suppress: Suppression,
) -> list[float]:
    """Return the logarithms of the probabilities of certain tokens.

    Args:
        logits: (N, V) raw logits, left as they are.
        rows: N ways to pick, of which only what they suppress plays a role.
        steps: Pairs of a row and a token.
        suppress: Of the same model.
    """
    assert len(logits) == len(rows), f"{len(logits)} rows of logits for {len(rows)} rows"
    scores = suppress(logits.float(), rows).log_softmax(-1)
    places, tokens = to_device(steps, logits.device).T  # each (steps,)
    found: list[float] = scores[places, tokens].tolist()
    return found


def pick_bins(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Pick the likeliest bins.

    Args:
        logits: (..., bins).

    Returns:
        Bins and their probabilities, each (...).
    """
    bins = logits.argmax(-1)
    chances = logits.float().softmax(-1).gather(-1, bins.unsqueeze(-1))
    return bins, chances.squeeze(-1)


def nucleus(scores: Tensor, temperature: Tensor, top_p: Tensor) -> tuple[Tensor, Tensor]:
    """Apply temperature and top-p.

    A token stays when the likelier ones together have at most `top_p`: the likeliest always does,
    and so does the one that crosses the limit.

    Args:
        scores: (N, V) float32 logits.
        temperature: (N, 1), above 0.
        top_p: (N, 1).

    Returns:
        Probabilities in falling order and their tokens, each (N, V).
    """
    chances, tokens = (scores / temperature).softmax(-1).sort(-1, descending=True)
    before = chances.cumsum(-1) - chances
    outside = before > top_p
    outside[:, 0] = False
    kept = chances.masked_fill(outside, 0.0)
    return kept / kept.sum(-1, keepdim=True), tokens


def geometric_mean(probabilities: Iterable[float]) -> float:
    """Return the geometric mean, 0 for no probabilities."""
    logs = [math.log(max(probability, _FLOOR)) for probability in probabilities]
    return math.exp(math.fsum(logs) / len(logs)) if logs else 0.0


def _draw(scores: Tensor, rows: Sequence[Picking]) -> Tensor:
    """Draw one token for each row by inverting its distribution: (N, V) to (N,)."""
    device = scores.device
    temperature = to_device([[row.temperature] for row in rows], device)
    top_p = to_device([[row.top_p] for row in rows], device)
    chances, tokens = nucleus(scores, temperature, top_p)
    numbers = to_device([[_number(row)] for row in rows], device)
    places = (chances.cumsum(-1) <= numbers).sum(-1)  # (N,)
    # Rounding can leave the sum below the number that was drawn.
    last = (chances > 0).sum(-1) - 1
    return tokens.gather(1, places.minimum(last)[:, None])[:, 0]


def _number(row: Picking) -> float:
    """Draw from 0..1, 1 excluded."""
    assert row.generator is not None, "a row that samples needs a generator"
    return torch.rand((), generator=row.generator).item()
