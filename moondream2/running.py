"""The tasks that run in slots: what each reads in a step, and what is decided of it.

Everything advances in the same pass over the language model, whatever it is: a prompt, a word of a
caption, a coordinate of a box. Rows join and leave between steps.

With feedback, words are read where they were picked: the device goes on with the next step while
rows take the tokens of the last one here. Whether a row has ended is known one step late then, and
what was read of it meanwhile is forgotten. What else is decided is waited for, and so are the words
of the same step.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate

import torch
from torch import Tensor

from moondream2.feeds import Picked
from moondream2.outputs import Outputs
from moondream2.passes import Passes, Reading
from moondream2.row import Head
from moondream2.sampling import Pick, Picks
from moondream2.scheduler import Place
from moondream2.staging import to_device
from moondream2.work import Live, Token, Work

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
        #: Of the last step, where nobody has waited for them; and the rows they are for.
        self._picked: tuple[Picks, list[Live]] | None = None
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
        self._picked = None

    def stop_full(self) -> list[Live]:
        """Stop rows whose slot has no room for what they read next, and return them."""
        full = []
        for live in self._live.values():
            if live.length + live.row.num_positions > self._context:
                self._outputs.show(live, live.row.stop("context"))
                full.append(live)
        return full

    def advance(self) -> list[Live]:
        """Let every row read what it has to read and decide what follows.

        Returns:
            The rows of which something was decided, or something decided before is known now.
        """
        self._num_steps += 1
        # In the order of the slots, so that equal work is packed equally.
        lives = [self._live[slot] for slot in sorted(self._live)]
        if not lives:
            return []
        self._branch([live for live in lives if live.row.head is Head.BRANCHES])
        read = [live for live in lives if self._reads(live)]
        given = [live for live in lives if live.hidden is not None]
        hidden, firsts = self._read(read, given) if read or given else (None, [])
        # While the device reads on, rows take the tokens that it reads.
        known = {live.slot: live for live in self._take_picked()}
        if hidden is not None:
            self._decide([*read, *given], hidden, firsts)
        decided = [live for live in [*read, *given] if live.token is Token.TAKEN]
        return list((known | {live.slot: live for live in decided}).values())

    def _reads(self, live: Live) -> bool:
        """Whether a row reads something in this step."""
        if live.token is Token.PICKED:
            return live.row.num_left > 1 and live.length < self._context
        return bool(live.row.feeds) or live.row.branches is not None

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
            Reading(
                live.slot,
                live.length,
                tuple(live.row.feeds) if live.picked is None else (live.picked,),
                live.row.branches,
            )
            for live in lives
        ]
        parts = [live.hidden for live in given if live.hidden is not None]
        if readings:
            lengths = {live.slot: live.length for live in self._live.values()}
            parts.insert(0, self._passes.read(readings, lengths))
        for live, reading in zip(lives, readings, strict=True):
            live.length += len(reading.feeds)
            live.row.feeds = []
            if live.token is Token.PICKED:
                live.token = Token.READ
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
                here = [firsts[place] for place in places]
                is_all = here == list(range(len(hidden)))
                own = hidden if is_all else hidden[to_device(here, hidden.device)]
                take([lives[place] for place in places], own)

    def _take_tokens(self, lives: Sequence[Live], hidden: Tensor) -> None:
        picks = self._passes.heads.tokens(hidden, [live.row.picking for live in lives])
        if self._passes.decoding.feedback and all(live.row.num_left for live in lives):
            self._picked = picks, list(lives)
            for index, live in enumerate(lives):
                live.token, live.picked = Token.PICKED, Picked(picks, index)
            return
        for live, pick in zip(lives, picks.told(), strict=True):
            self._take(live, pick)

    def _take_picked(self) -> list[Live]:
        """Let rows take the tokens of the step before, which are known now; return those rows."""
        if self._picked is None:
            return []
        (picks, lives), self._picked = self._picked, None
        # Others were stopped or cancelled in between, and whoever has their slot is another.
        if not any(self._live.get(live.slot) is live for live in lives):
            return []
        known = []
        for live, pick in zip(lives, picks.told(), strict=True):
            if self._live.get(live.slot) is live:
                self._take(live, pick)
                known.append(live)
        return known

    def _take(self, live: Live, pick: Pick) -> None:
        """Let a row take its token, and forget that it is to be read where it has been."""
        before, live.token, live.picked = live.token, Token.TAKEN, None
        if live.is_sound(pick.probability):
            self._outputs.show(live, live.row.take_token(pick))
        if before is Token.READ:
            assert live.row.feeds in ([], [pick.token]), "the row would have read something else"
            live.row.feeds = []

    def _take_coordinates(self, lives: Sequence[Live], hidden: Tensor) -> None:
        for live, choice in zip(lives, self._passes.heads.coordinates(hidden), strict=True):
            if live.is_sound(choice.probability):
                live.row.take_coordinate(choice)

    def _take_sizes(self, lives: Sequence[Live], hidden: Tensor) -> None:
        for live, (width, height) in zip(lives, self._passes.heads.sizes(hidden), strict=True):
            if live.is_sound(width.probability, height.probability):
                live.row.take_size(width, height)
