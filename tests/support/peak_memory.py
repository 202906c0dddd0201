"""The most memory that a pass holds at once, worked out on the meta device.

Of tensors that the pass makes itself; what a device's kernels need inside is not known there.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_weak: Any = StorageWeakRef  # has no types


class PeakMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Watches while it is entered."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0
        self._held: dict[int, tuple[Any, int]] = {}  # memory and its size, by address

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Do a call, and see what it made and what is still held of what earlier ones made."""
        made = func(*args, **(kwargs or {}))
        self._held = {key: held for key, held in self._held.items() if not held[0].expired()}
        given = {each.untyped_storage()._cdata for each in _tensors(args)}
        for each in _tensors(made):
            storage = each.untyped_storage()
            if each.is_meta and storage._cdata not in given:
                self._held[storage._cdata] = _weak(storage), storage.nbytes()
        self.bytes = max(self.bytes, sum(size for _, size in self._held.values()))
        return made


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
