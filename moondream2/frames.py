"""How frames come to their slots: whole, in parts between the steps of rows, or beside them."""

from collections.abc import Mapping, Sequence
from itertools import groupby

from moondream2.beside import Ahead, Beside
from moondream2.encoding import Clock
from moondream2.outputs import Outputs
from moondream2.passes import Passes
from moondream2.row import Head
from moondream2.rows import row_of
from moondream2.scheduler import Place, Scheduler
from moondream2.stopwatch import Stopwatch
from moondream2.tokens import Feed, Tokenizer
from moondream2.work import Work


class Frames:
    """Encodes frames as the scheduler wants it.

    Args:
        passes: Over the network.
        scheduler: Is told which frames are in their slots.
        tokenizer: For prompts that are read with their frames.
        work: Requests that are held, by key.
        outputs: Is told which have begun.
        limit_s: Seconds of encoding in one step, by `clock`, where a frame is encoded in parts.
        clock: Seconds of a clock that never goes back.
    """

    def __init__(
        self,
        passes: Passes,
        scheduler: Scheduler,
        tokenizer: Tokenizer,
        work: Mapping[str, Work],
        outputs: Outputs,
        *,
        limit_s: float | None,
        clock: Clock,
    ) -> None:
        self._passes, self._scheduler, self._tokenizer = passes, scheduler, tokenizer
        self._work, self._outputs = work, outputs
        self._limit_s, self._clock = limit_s, clock
        self._timed: tuple[Stopwatch, list[str]] | None = None  # of this step

    def encode(self, places: Sequence[Place]) -> None:
        """Encode frames and write their prefixes to their slots."""
        frames = [self._work[place.key].crops for place in places]
        slots = [place.slot for place in places]
        watch = self._passes.encode(frames, slots, max_crops=self._scheduler.max_crops)
        self._timed = watch, [place.key for place in places]

    def advance(self, place: Place) -> None:
        """Encode a frame further into its slot."""
        assert self._limit_s is not None, "only parts are advanced"
        work = self._work[place.key]
        self._outputs.tell_start(work)
        if work.encoding is None:
            most = self._scheduler.max_crops
            work.encoding = self._passes.encoding(work.crops, max_crops=most, clock=self._clock)
        if self._passes.advance(work.encoding, place.slot, self._limit_s):
            work.encode_seconds += work.encoding.seconds
            work.encoding = None
            self._scheduler.encoded(place.key)

    def encode_beside(self, beside: Beside, places: Sequence[Place]) -> None:
        """Launch more of what is encoded beside rows, after new frames joined it."""
        ranks = {place.key: self._work[place.key].request.rank[:1] for place in places}
        for rank, own in groupby(places, key=lambda place: ranks[place.key]):
            beside.add(self._ahead(list(own), rank))
        beside.launch()
        for place in self._scheduler.encoding():
            work = self._work[place.key]
            if work.ahead is not None and work.ahead[0].is_begun:
                self._outputs.tell_start(work)

    def take_encoded(self) -> None:
        """Bring prefixes that were encoded beside rows to their slots."""
        for place in self._scheduler.encoding():
            work = self._work[place.key]
            if work.ahead is not None and work.ahead[0].is_done:
                hidden = self._passes.take(*work.ahead, place.slot)
                if hidden is not None and self._prompt(place):
                    work.read_ahead = place.task, hidden
                work.encode_seconds += work.ahead[0].seconds
                work.ahead = None
                self._scheduler.encoded(place.key)

    def note_time(self) -> None:
        """Book the time of this step's encoding, which is over once something was decided."""
        if self._timed is None:
            return
        watch, keys = self._timed
        self._timed = None
        for key in keys:
            if key in self._work:
                self._work[key].encode_seconds += watch.seconds

    def drop(self, work: Work) -> None:
        """Launch nothing more for a request that is held no longer, unless others need it."""
        if work.ahead is None or self._passes.beside is None:
            return
        others = [other.ahead[0] for other in self._work.values() if other.ahead]
        if work.ahead[0] not in others:
            self._passes.beside.drop(work.ahead[0])

    def clear(self) -> None:
        """Forget what was encoded: all of it begins again."""
        self._timed = None
        if self._passes.beside is not None:
            self._passes.beside.clear()
        for work in self._work.values():
            work.encoding = work.ahead = work.read_ahead = None

    def _ahead(self, places: Sequence[Place], rank: tuple[float, ...]) -> Ahead:
        """Prepare to encode frames of a class together."""
        frames = [self._work[place.key].crops for place in places]
        prompts = [self._prompt(place) for place in places]
        most = self._scheduler.max_crops
        ahead = self._passes.ahead(frames, prompts, rank, max_crops=most)
        for index, place in enumerate(places):
            work = self._work[place.key]
            work.ahead, work.read_ahead = (ahead, index), None
        return ahead

    def _prompt(self, place: Place) -> list[Feed]:
        """Return what can be read of a task together with its frame."""
        row = row_of(self._work[place.key].request, place.task, self._tokenizer)
        return [] if row.head is Head.BRANCHES else row.feeds
