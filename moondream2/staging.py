"""What travels to a device, without anybody waiting for it.

A frame waits for its turn while others are answered, and that is when its pixels travel: from
page-locked memory, which any thread can fill, on a stream of their own. Numbers that steer a pass
(tokens, positions, rows) travel in order with it; from ordinary memory, each of them would make the
processor wait until the device has nothing more to do. What was found travels back the same way,
and whoever asks for it waits for that alone. On a CPU nothing moves.
"""

from collections.abc import Sequence
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


class FromDevice:
    """Numbers on their way from a device, behind what was launched there.

    Args:
        numbers: Of any shape.
    """

    def __init__(self, numbers: Tensor) -> None:
        is_cuda = numbers.device.type == "cuda"
        self._numbers = numbers.to("cpu", non_blocking=True) if is_cuda else numbers
        self._sent: torch.cuda.Event | None = None
        if is_cuda:
            self._sent = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._sent.record(torch.cuda.current_stream(numbers.device))

    def wait(self) -> Any:
        """Wait until they are here, and return them as nested lists."""
        if self._sent is not None:
            self._sent.synchronize()
        return self._numbers.tolist()


def pin(crops: Crops, device: torch.device) -> Crops:
    """Move pixels to page-locked memory, if they are going to a CUDA device; on any thread.

    Where there is no such memory left they stay where they are, and travel more slowly.
    """
    if device.type != "cuda":
        return crops
    try:
        with torch.cuda.device(device):  # else a thread would open the first device for it
            return replace(crops, pixels=crops.pixels.pin_memory())
    except RuntimeError:  # also what torch raises for memory of the device
        return crops


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
        """Begin to copy a frame; its pixels must not be read before `receive`.

        One that does not fit on the device yet stays behind and is copied when its turn comes.
        """
        if self._stream is None:
            return crops
        try:
            with torch.cuda.stream(self._stream):
                pixels = pin(crops, self._device).pixels.to(self._device, non_blocking=True)
        except torch.OutOfMemoryError:
            return crops
        return replace(crops, pixels=pixels)

    def receive(self, frames: Sequence[Crops]) -> list[Crops]:
        """Let what is launched from now on wait for frames that were sent.

        Returns:
            The frames, all on the device.

        Raises:
            torch.OutOfMemoryError: One that stayed behind does not fit even now.
        """
        if self._stream is None:
            return list(frames)
        reader = torch.cuda.current_stream(self._device)
        reader.wait_stream(self._stream)
        return [self._received(crops, reader) for crops in frames]

    def _received(self, crops: Crops, reader: torch.cuda.Stream) -> Crops:
        if crops.pixels.device.type == "cpu":
            return replace(crops, pixels=crops.pixels.to(self._device))
        # The memory belongs to the other stream, which must not reuse it while it is read here.
        crops.pixels.record_stream(reader)
        return crops
