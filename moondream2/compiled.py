"""The two passes that encode a frame, through torch.compile.

Worth minutes at the start when a device encodes all day: it fuses what lies between the matrix
products. Both passes are captured whole; what could not be would be an error, not a slow pass.
"""

import os
import shutil
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from moondream2.cache import SlotCache
from moondream2.errors import CompileError
from moondream2.staging import to_device
from moondream2.text import TextModel, attention
from moondream2.vision import VisionModel

#: The name of what makes code of a captured pass, or the thing itself.
Backend = str | Callable[..., Any]
_BACKEND = "inductor"  # torch's own
_COMPILERS = ("g++", "clang++", "c++")


def check_compiler() -> None:
    """See that torch will find what turns its code into a program, on any device.

    Raises:
        CompileError: It will not.
    """
    wanted = os.environ.get("CXX")
    if not any(shutil.which(name) for name in ([wanted] if wanted else _COMPILERS)):
        raise CompileError(
            f"compiling needs a C++ compiler, and {wanted or 'none'} was found: install g++ (and "
            "gcc, for CUDA), or set model.compile to false"
        )


def compile_vision(vision: VisionModel, backend: Backend = _BACKEND) -> None:
    """Compile the image encoder in place.

    The number of crops in a pass may vary, but one alone is compiled apart from several.

    Args:
        vision: In its dtype and on its device.
        backend: Compiles what was captured.
    """
    vision.compile(dynamic=True, fullgraph=True, backend=backend)


class _Collect:
    """Attention of prefixes whose keys and values become results, layer by layer."""

    def __init__(self) -> None:
        self.kept: list[tuple[Tensor, Tensor]] = []

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        self.keep(layer, k, v)
        return attention(q, k, v)

    def keep(self, _layer: int, k: Tensor, v: Tensor) -> None:
        self.kept.append((k, v))


class CompiledPrefill:
    """The prefix pass of the language model; used as `prefill` is.

    Keys and values leave it as results and are written to the pool afterwards: a pass that wrote to
    the pool itself would be compiled anew for each choice of slots.

    Args:
        text: The language model.
        backend: As for `compile_vision`.
    """

    def __init__(self, text: TextModel, backend: Backend = _BACKEND) -> None:
        def run(embeddings: Tensor, positions: Tensor) -> list[tuple[Tensor, Tensor]]:
            attend = _Collect()
            text.prefill(embeddings, positions, attend)
            return attend.kept

        self._run: Callable[[Tensor, Tensor], list[tuple[Tensor, Tensor]]] = torch.compile(
            run, dynamic=True, fullgraph=True, backend=backend
        )

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
