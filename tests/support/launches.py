"""What a device is told to do, counted where there is none: tensors of shapes without numbers.

Every call that computes or copies is one launch at least; views and new memory are none. Bytes are
those of the tensors that go in and come out of the calls, which is what they read and write at
least, but for operators that touch a known part of them.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

#: Calls that only make memory, or look at it otherwise.
_FREE = ("empty", "empty_like", "empty_strided", "new_empty", "_unsafe_view", "_reshape_alias")


class Launches(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts while it is entered.

    Args:
        parts: Bytes of a call of operators that touch a part of their tensors, by name.
    """

    def __init__(self, parts: Mapping[str, int] | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._parts = parts or {}
        #: By the name of the operator.
        self.calls: Counter[str] = Counter()
        self.bytes = 0

    @property
    def count(self) -> int:
        """How many there were."""
        return self.calls.total()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Count a call, and do it."""
        made = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if not func.is_view and name not in _FREE:
            self.calls[name] += 1
            leaves = tree_leaves((args, kwargs, made))
            tensors = {id(each): each for each in leaves if isinstance(each, Tensor)}
            whole = sum(each.numel() * each.element_size() for each in tensors.values())
            self.bytes += self._parts.get(name, whole)
        return made


META = torch.device("meta")
