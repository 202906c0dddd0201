"""A frame on its way into a slot, in units: one block of the network for some of its crops.

A CPU takes half a minute for a frame, and whoever is more urgent must not wait that long. So a
frame can be left after any unit and taken up again where it was left, in another step and even in
another slot; what comes out is the same, bit for bit, wherever it was cut.
"""

import time
from collections.abc import Callable, Iterator

from torch import Tensor

from moondream2.cache import PrefixAttend, SlotCache, prefill_in_units
from moondream2.crops import Crops
from moondream2.model import Moondream

Clock = Callable[[], float]


class Encoding:
    """One frame, from its crops to its prefix in a slot.

    Holds the features of the crops that are encoded, 3 MiB each for the public model in float32.

    Args:
        model: Ready for inference.
        crops: Of the frame.
        chunk: Most of them in one pass through the encoder; None chooses by memory.
        clock: Seconds of a clock that never goes back.
    """

    def __init__(
        self,
        model: Moondream,
        crops: Crops,
        *,
        chunk: int | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self._model, self._clock = model, clock
        self._image = model.vision.encode_in_units([crops], chunk=chunk)
        self._embeddings: Tensor | None = None  # (1, T, W), when all crops are encoded
        self._prefix: Iterator[int] | None = None  # through the language model, into the slot
        self.num_crops = len(crops)
        #: Spent on it so far.
        self.seconds = 0.0

    def advance(self, cache: SlotCache, slot: int, limit_s: float) -> bool:
        """Do units for as long as the next one would probably end within a limit, at least one.

        Args:
            cache: Where the prefix goes.
            slot: Of the frame; the same until `leave_slot`.
            limit_s: Seconds.

        Returns:
            Whether the prefix is in the slot.
        """
        begin = now = self._clock()
        longest = 0.0
        while is_going := self._unit(cache, slot):
            before, now = now, self._clock()
            longest = max(longest, now - before)
            if now - begin + longest > limit_s:
                break
        self.seconds += self._clock() - begin
        return not is_going

    def leave_slot(self) -> None:
        """The slot is another's now: the prefix begins anew in the next one."""
        self._prefix = None

    def _unit(self, cache: SlotCache, slot: int) -> bool:
        """Go on where it was left, by one unit; whether there was one."""
        if self._embeddings is None:
            image = next(self._image)
            if image is not None:
                self._embeddings = self._model.prefix_embeddings(image)
            return True
        if self._prefix is None:
            attend = PrefixAttend(cache, [slot])
            self._prefix = prefill_in_units(self._model.text, self._embeddings, attend)
        return next(self._prefix, None) is not None
