"""How a device computes one token of each row after the other."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from moondream2.graphs import CudaRecorder, Recorder
from moondream2.model import Moondream
from moondream2.varlen import Varlen, find_varlen

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Decoding:
    """What decode steps are made of; as it is, they are launched piece by piece."""

    #: Makes what records them, anew with each pool of slots; None: nothing is recorded.
    recorder: Callable[[], Recorder] | None = None
    #: Attention of recorded steps that reads the length of each row; None: contexts are fixed.
    varlen: Varlen | None = None
    #: A step reads the tokens of the one before it where they were picked, before they are told.
    feedback: bool = False

    @classmethod
    def of(cls, model: Moondream) -> "Decoding":
        """Return what is best where a model is."""
        device = model.device
        if device.type != "cuda":
            return cls()
        varlen = find_varlen(model.config.text, device, model.dtype)
        return cls(partial(CudaRecorder, device), varlen, feedback=True)

    def without_fault(self, reason: str) -> "Decoding":
        """Return what remains where steps cannot be recorded so, after the log has the reason.

        First they are recorded over fixed contexts, and where that fails too, not at all.
        """
        if self.varlen is not None:
            logger.warning("steps that read the length of each row cannot be recorded: %s", reason)
            return replace(self, varlen=None)
        logger.warning("decode steps cannot be recorded and are slower: %s", reason)
        return replace(self, recorder=None)
