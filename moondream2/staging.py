"""What travels to a device, without anybody waiting for it.

A frame waits for its turn while others are answered, and that is when its pixels travel: from
page-locked memory, which any thread can fill, on a stream of their own. Numbers that steer a pass
(tokens, positions, rows) travel in order with it; from ordinary memory, each of them would make the
processor wait until the device has nothing more to do. On a CPU nothing moves.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from moondream2.crops import Crops


def to_device(numbers: Sequence[Any], device: torch.device) -> Tensor:
    """Make a tensor of nested numbers on a device, in order with what was launched there."""
    tensor = torch.tensor(numbers)
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def pin(crops: Crops, device: torch.device) -> Crops:
    """Move pixels to page-locked memory, if they are going to a CUDA device; on any thread."""
    if device.type != "cuda":
        return crops
    with torch.cuda.device(device):  # else a thread would open the first device for it
        return replace(crops, pixels=crops.pixels.pin_memory())


class Staging:
    """Copies frames to one device.

    Args:
        device: Where the model runs.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        is_cuda = device.type == "cuda"
        self._stream = torch.cuda.Stream(device) if is_cuda else None  # type: ignore[no-untyped-call]

    def send(self, crops: Crops) -> Crops:
        """Begin to copy a frame; its pixels must not be read before `receive`."""
        if self._stream is None:
            return crops
        with torch.cuda.stream(self._stream):
            pixels = pin(crops, self._device).pixels.to(self._device, non_blocking=True)
        return replace(crops, pixels=pixels)

    def receive(self, frames: Iterable[Crops]) -> None:
        """Let what is launched from now on wait for frames that were sent."""
        if self._stream is None:
            return
        reader = torch.cuda.current_stream(self._device)
        reader.wait_stream(self._stream)
        for crops in frames:
            # The memory belongs to the other stream, which must not reuse it while it is read here.
            crops.pixels.record_stream(reader)
