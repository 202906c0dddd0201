"""What a device would have to do and to hold: kernels launched, bytes read and written, memory.

Counted on the meta device, where tensors have shapes and no memory, so that even the public model
is counted in moments. What only names memory differently, or takes it, launches nothing. In
inference mode linear layers and attention are one call each, as on a device that has kernels for
them; elsewhere they count by the pieces that torch makes of them.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

#: Write what they are given to a part of their first argument, or to all of it, and read none.
_WRITES = {"aten::copy_", "aten::index_copy_", "aten::index_put_"}

_weak: Any = StorageWeakRef  # has no types


@dataclass(slots=True)
class Counted:
    """What was launched."""

    kernels: Counter[str] = field(default_factory=Counter)
    bytes: int = 0
    #: Most memory that tensors made here held at once.
    peak_bytes: int = 0

    @property
    def launches(self) -> int:
        """All kernels together."""
        return self.kernels.total()


class _Counting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, counted: Counted) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._counted = counted
        self._made: dict[int, Any] = {}  # memory, by its address
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func._schema.name
        is_written = func._schema.is_mutable or not _is_view(args, result)
        if is_written and not name.startswith("aten::empty"):
            self._counted.kernels[name.removeprefix("aten::")] += 1
            self._counted.bytes += _moved(name, args, result)
        self._note_memory(args, result)
        return result

    def _note_memory(self, args: Sequence[Any], result: Any) -> None:
        """See what this call made, and what is still held of what earlier ones made."""
        self._made = {key: ref for key, ref in self._made.items() if not ref.expired()}
        given = {each.untyped_storage()._cdata for each in _tensors(args)}
        for each in _tensors(result):
            if each.is_meta and (storage := each.untyped_storage())._cdata not in given:
                self._made[storage._cdata] = _weak(storage)
                self._sizes[storage._cdata] = storage.nbytes()
        held = sum(self._sizes[key] for key in self._made)
        self._counted.peak_bytes = max(self._counted.peak_bytes, held)


@contextmanager
def counting() -> Iterator[Counted]:
    """Count what is launched in this block."""
    counted = Counted()
    with _Counting(counted):
        yield counted


def _is_view(args: Sequence[Any], result: Any) -> bool:
    """Whether results are other names for memory of arguments."""
    held = {each.untyped_storage()._cdata for each in _tensors(args)}
    return all(each.untyped_storage()._cdata in held for each in _tensors(result))


def _moved(name: str, args: Sequence[Any], result: Any) -> int:
    """Bytes read and written."""
    read = _tensors(args)
    if name in _WRITES:
        return 2 * read[-1].nbytes  # the source, which is their last tensor
    return sum(each.nbytes for each in (*read, *_tensors(result)))


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
