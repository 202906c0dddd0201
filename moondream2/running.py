"""The tasks that run in slots: what each reads in a step, and what is decided of it.

Everything advances in the same pass over the language model, whatever it is: a prompt, a word of a
caption, a coordinate of a box. Rows join and leave between steps.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate

import torch
from torch import Tensor

from moondream2.outputs import Outputs
from moondream2.passes import Passes, Reading
from moondream2.row import Head
from moondream2.scheduler import Place
from moondream2.staging import to_device
from moondream2.work import Live, Work

#: Tokens of choices tried in one step by all rows together, unless one choice has more: those who
#: generate beside them wait no longer than for a long prompt. Two short choices have five.
_MAX_BRANCH_TOKENS = 64


class Running:
    """Rows in their slots.

    Args:
        passes: Over the network.
        work: Requests that are held, by key.
        outputs: Is told what can be shown.
        context: Positions of a slot.
    """

    def __init__(
        self, passes: Passes, work: Mapping[str, Work], outputs: Outputs, context: int
    ) -> None:
        self._passes, self._work, self._outputs = passes, work, outputs
        self._context = context
        self._live: dict[int, Live] = {}  # by slot
        self._num_steps = 0

    def __bool__(self) -> bool:
        return bool(self._live)

    def start(self, live: Live) -> None:
        """Let a row run in its slot."""
        self._live[live.slot] = live

    def stop(self, place: Place) -> None:
        """Take a slot from a row, or from a frame that is being encoded."""
        self._live.pop(place.slot, None)
        if encoding := self._work[place.key].encoding:
            encoding.leave_slot()

    def end(self, live: Live) -> None:
        """Forget a row that has ended."""
        del self._live[live.slot]

    def forget(self, key: str) -> None:
        """Forget the rows of a request."""
        self._live = {slot: live for slot, live in self._live.items() if live.key != key}

    def clear(self) -> None:
        """Forget all rows."""
        self._live.clear()

    def stop_full(self) -> list[Live]:
        """Stop rows whose slot has no room for what they read next, and return them."""
        full = []
        for live in self._live.values():
            if live.length + live.row.num_positions > self._context:
                self._outputs.show(live, live.row.stop("context"))
                full.append(live)
        return full

    def advance(self) -> list[Live]:
        """Let every row read what it has to read and decide what follows; return the rows."""
        self._num_steps += 1
        # In the order of the slots, so that equal work is packed equally.
        lives = [self._live[slot] for slot in sorted(self._live)]
        if not lives:
            return []
        self._branch([live for live in lives if live.row.head is Head.BRANCHES])
        read = [live for live in lives if live.row.feeds or live.row.branches is not None]
        given = [live for live in lives if live.hidden is not None]
        hidden, firsts = self._read(read, given)
        lives = read + given
        self._decide(lives, hidden, firsts)
        return lives

    def _branch(self, lives: Sequence[Live]) -> None:
        """Let rows that weigh choices try some, in turns: a step stays short however many want."""
        turns = sorted(lives, key=lambda e: (self._work[e.key].request.rank[:1], e.tried_in))
        room = _MAX_BRANCH_TOKENS
        for live in turns:
            num_feeds = len(live.row.feeds)
            if live is turns[0]:  # its longest choice at any rate
                room = max(room, live.row.num_positions - num_feeds)
            live.row.branch(min(room, self._context - live.length - num_feeds))
            if live.row.branches is not None:
                room -= len(live.row.branches)
                live.tried_in = self._num_steps

    def _read(self, lives: Sequence[Live], given: Sequence[Live]) -> tuple[Tensor, list[int]]:
        """Read feeds and branches of rows; others have been given what their prompt came to.

        Returns:
            Hidden states, (outputs, W), and the first place of each row, those given at the end.
        """
        readings = [
            Reading(live.slot, live.length, tuple(live.row.feeds), live.row.branches)
            for live in lives
        ]
        parts = [live.hidden for live in given if live.hidden is not None]
        if readings:
            lengths = {live.slot: live.length for live in self._live.values()}
            parts.insert(0, self._passes.read(readings, lengths))
        for live in lives:
            live.length += len(live.row.feeds)
            live.row.feeds = []
        for live in given:
            live.hidden = None
        counts = [*(each.num_outputs for each in readings), *(1 for _ in given)]
        return torch.cat(parts), list(accumulate(counts, initial=0))[:-1]

    def _decide(self, lives: Sequence[Live], hidden: Tensor, firsts: Sequence[int]) -> None:
        """Decode hidden states until every row has something to read or has ended.

        One state can give two things: the decision for another object, then its first coordinate.
        """
        for live, first in zip(lives, firsts, strict=True):
            if (branches := live.row.branches) is not None:
                own = hidden[first : first + len(branches)]
                scores = self._passes.heads.scores(own, branches, live.row.picking)
                if live.is_sound(*scores):
                    live.row.take_scores(scores)
        for head, take in (
            (Head.TEXT, self._take_tokens),
            (Head.COORDINATE, self._take_coordinates),
            (Head.SIZE, self._take_sizes),
        ):
            places = [
                index
                for index, live in enumerate(lives)
                if live.row.head is head
                and not (live.row.feeds or live.row.is_done or live.is_spoilt)
            ]
            if places:
                index = to_device([firsts[place] for place in places], hidden.device)
                take([lives[place] for place in places], hidden[index])

    def _take_tokens(self, lives: Sequence[Live], hidden: Tensor) -> None:
        picks = self._passes.heads.tokens(hidden, [live.row.picking for live in lives])
        for live, pick in zip(lives, picks, strict=True):
            if live.is_sound(pick.probability):
                self._outputs.show(live, live.row.take_token(pick))

    def _take_coordinates(self, lives: Sequence[Live], hidden: Tensor) -> None:
        for live, choice in zip(lives, self._passes.heads.coordinates(hidden), strict=True):
            if live.is_sound(choice.probability):
                live.row.take_coordinate(choice)

    def _take_sizes(self, lives: Sequence[Live], hidden: Tensor) -> None:
        for live, (width, height) in zip(lives, self._passes.heads.sizes(hidden), strict=True):
            if live.is_sound(width.probability, height.probability):
                live.row.take_size(width, height)
