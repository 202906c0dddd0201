"""Sequences that are tried behind one prompt, side by side in one pass.

They form a tree: its root is the last token of the prompt, what two sequences begin with is read
once, and a token sees what is before the root and its own way from there. So every sequence is read
as if it were the only one. Plain data, no torch.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Branches:
    """The tree, a token after those that it follows."""

    tokens: tuple[int, ...]
    #: Place of the token before each; the root's is its own.
    parents: tuple[int, ...]
    #: Place of the last token of each sequence, in the order they were given.
    ends: tuple[int, ...]

    @classmethod
    def of(cls, root: int, sequences: Iterable[Sequence[int]]) -> "Branches":
        """Make the tree of sequences that all follow one token."""
        tokens, parents, ends = [root], [0], []
        places: dict[tuple[int, int], int] = {}  # by parent and token
        for sequence in sequences:
            here = 0
            for token in sequence:
                if (here, token) not in places:
                    places[here, token] = len(tokens)
                    tokens.append(token)
                    parents.append(here)
                here = places[here, token]
            ends.append(here)
        return cls(tuple(tokens), tuple(parents), tuple(ends))

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def depths(self) -> list[int]:
        """How many tokens of the tree are before each on its way, 0 for the root."""
        depths = [0]
        for parent in self.parents[1:]:
            depths.append(depths[parent] + 1)
        return depths

    @property
    def sees(self) -> list[list[bool]]:
        """For each token, which tokens of the tree it sees: those on its way, and itself."""
        rows = [[place == 0 for place in range(len(self))]]
        for place, parent in enumerate(self.parents[1:], start=1):
            row = rows[parent].copy()
            row[place] = True
            rows.append(row)
        return rows

    def steps(self, stop: int) -> list[tuple[int, int]]:
        """What has to be known to weigh the sequences: a token, and the place it is read from.

        First every token but the root behind the one before it, then the stop token behind each
        sequence.
        """
        inner = list(zip(self.parents, self.tokens, strict=True))[1:]
        return inner + [(end, stop) for end in self.ends]

    def weigh(self, scores: Sequence[float]) -> list[float]:
        """Return the logarithm of the probability of each sequence and the stop behind it.

        Args:
            scores: Logarithms of the probabilities of `steps`.
        """
        totals = [0.0]
        for parent, score in zip(self.parents[1:], scores, strict=False):  # stops remain
            totals.append(totals[parent] + score)
        stops = scores[len(self) - 1 :]
        return [totals[end] + stop for end, stop in zip(self.ends, stops, strict=True)]
