"""The two passes that encode a frame, through torch.compile.

Worth minutes at the start when a device encodes all day: it fuses what lies between the matrix
products. Both passes are captured whole. Compiling is a gain and no need: where it fails, whatever
the reason, both run as they are, with one warning.
"""

import importlib
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from moondream2.cache import SlotCache
from moondream2.staging import to_device
from moondream2.text import TextModel, attention
from moondream2.vision import VisionModel

logger = logging.getLogger(__name__)

#: The name of what makes code of a captured pass, or the thing itself.
Backend = str | Callable[..., Any]
_BACKEND = "inductor"  # torch's own
_MOST_CHARACTERS = 300  # of a compiler's error, which can be pages long
_COMPILERS = ("g++", "clang++", "c++")


def missing_compiler() -> str | None:
    """Say what is missing that turns torch's code into a program, on any device; None: nothing."""
    wanted = os.environ.get("CXX")
    if any(shutil.which(name) for name in ([wanted] if wanted else _COMPILERS)):
        return None
    what = f"{wanted} was not found" if wanted else "none was found"
    return (
        f"model.compile needs a C++ compiler, and {what}: the passes run as they are; install g++ "
        "(and gcc, for CUDA), or set model.compile to false"
    )


class Compiler:
    """Compiles passes, until one of them cannot be: from then on all of them run as they are.

    Args:
        backend: Compiles what was captured.
    """

    def __init__(self, backend: Backend = _BACKEND) -> None:
        self._backend = backend
        self._has_failed = False

    def __call__(self, plain: Callable[..., Any]) -> Callable[..., Any]:
        """Return a pass that is compiled when it is first called."""
        compiled = torch.compile(plain, dynamic=True, fullgraph=True, backend=self._backend)

        def run(*args: Any) -> Any:
            if not self._has_failed:
                try:
                    return compiled(*args)
                except RuntimeError as error:
                    if not _is_of_compiler(error):
                        raise
                    self._give_up(error)
            return plain(*args)

        return run

    def _give_up(self, error: RuntimeError) -> None:
        self._has_failed = True
        # Advice for who works on torch follows after an empty line.
        reason = " ".join(str(error).partition("\n\n")[0].split())[:_MOST_CHARACTERS]
        logger.warning("model.compile: compiling fails, the passes run as they are: %s", reason)


def _is_of_compiler(error: RuntimeError) -> bool:
    """Whether an error is about compiling, not about what was computed."""
    # Imported by then, and too slowly to be imported by who does not compile.
    errors = importlib.import_module("torch._dynamo.exc")
    return isinstance(error, errors.TorchDynamoException)


def compile_vision(vision: VisionModel, compiler: Compiler) -> None:
    """Compile the image encoder in place.

    The number of crops in a pass may vary, but one alone is compiled apart from several.

    Args:
        vision: In its dtype and on its device.
        compiler: Compiles its `forward`.
    """
    vision.forward = compiler(vision.forward)  # type: ignore[method-assign]


class _Collect:
    """Attention of prefixes whose keys and values become results, layer by layer."""

    def __init__(self) -> None:
        self.kept: list[tuple[Tensor, Tensor]] = []

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        self.end(layer, q, k, v)
        return attention(q, k, v)

    def end(self, _layer: int, _q: Tensor, k: Tensor, v: Tensor) -> Tensor | None:
        self.kept.append((k, v))
        return None


class CompiledPrefill:
    """The prefix pass of the language model; used as `prefill` is.

    Keys and values leave it as results and are written to the pool afterwards: a pass that wrote to
    the pool itself would be compiled anew for each choice of slots.

    Args:
        text: The language model.
        compiler: As for `compile_vision`.
    """

    def __init__(self, text: TextModel, compiler: Compiler) -> None:
        def run(embeddings: Tensor, positions: Tensor) -> list[tuple[Tensor, Tensor]]:
            attend = _Collect()
            text.prefill(embeddings, positions, attend)
            return attend.kept

        self._run: Callable[[Tensor, Tensor], list[tuple[Tensor, Tensor]]] = compiler(run)

    def __call__(
        self, text: TextModel, embeddings: Tensor, cache: SlotCache, slots: Sequence[int]
    ) -> None:
        """Run prefixes, (F, T, W), and keep them in F slots."""
        F, T, _ = embeddings.shape
        # Made outside, where tables may be moved to the device for the first time.
        text.rotary.on(embeddings.device)
        positions = torch.arange(T, device=embeddings.device).expand(F, T)
        at = to_device(slots, embeddings.device)
        for layer, (k, v) in enumerate(self._run(embeddings, positions)):
            cache.write_prefixes(layer, at, k, v)
