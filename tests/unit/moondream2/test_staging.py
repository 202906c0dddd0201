from contextlib import nullcontext

import pytest
import torch

from moondream2.crops import Crops, prepare
from moondream2.staging import Staging, pin
from tests.support.generation import odd_model, picture

CPU = torch.device("cpu")


def test_frames_of_a_cpu_stay_as_they_are() -> None:
    crops = prepare(picture(), odd_model().config.vision)
    staging = Staging(CPU)
    assert pin(crops, CPU) is crops
    assert staging.send(crops) is crops
    assert staging.receive([crops]) == [crops]


class Stream:
    """A stream of a device that is not there."""

    def __init__(self, device: torch.device | None = None) -> None:
        self.waited_for: list[Stream] = []

    def wait_stream(self, other: "Stream") -> None:
        self.waited_for.append(other)


class Pixels:
    """Memory that can be short on either side, counted in attempts."""

    def __init__(self, device: str = "cpu", *, page_locked: int = 9, on_device: int = 9) -> None:
        self.device = torch.device(device)
        self.is_recorded = False
        self._left = {"page-locked": page_locked, "device": on_device}

    def pin_memory(self) -> "Pixels":
        self._take("page-locked", torch.AcceleratorError("CUDA error: out of memory"))
        return self

    def to(self, device: torch.device, non_blocking: bool = False) -> "Pixels":
        self._take("device", torch.OutOfMemoryError("CUDA out of memory"))
        return Pixels(device.type)

    def record_stream(self, stream: Stream) -> None:
        assert self.device.type == "cuda", "only the memory of a device is handed over"
        self.is_recorded = True

    def _take(self, kind: str, error: Exception) -> None:
        self._left[kind] -= 1
        if self._left[kind] < 0:
            raise error

    def refill(self) -> None:
        self._left = {"page-locked": 9, "device": 9}


@pytest.fixture
def staging(monkeypatch: pytest.MonkeyPatch) -> Staging:
    """One for a CUDA device, where there need be none."""
    reader = Stream()
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", nullcontext)
    monkeypatch.setattr(torch.cuda, "device", nullcontext)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _device: reader)
    return Staging(torch.device("cuda", 0))


def _frame(pixels: Pixels) -> Crops:
    return Crops(pixels, (1, 1), (90, 80))  # type: ignore[arg-type]


def test_frame_for_which_the_device_has_no_room_is_copied_when_its_turn_comes(
    staging: Staging,
) -> None:
    pixels = Pixels(on_device=0)
    sent = [staging.send(_frame(pixels)), staging.send(_frame(Pixels()))]
    assert [crops.pixels.device.type for crops in sent] == ["cpu", "cuda"]
    pixels.refill()
    there = staging.receive(sent)
    assert [crops.pixels.device.type for crops in there] == ["cuda", "cuda"]


def test_frame_that_never_fits_is_out_of_memory_in_its_step(staging: Staging) -> None:
    sent = staging.send(_frame(Pixels(on_device=0)))
    with pytest.raises(torch.OutOfMemoryError):
        staging.receive([sent])


def test_frame_travels_without_page_locked_memory(staging: Staging) -> None:
    frame = _frame(Pixels(page_locked=0))
    assert pin(frame, torch.device("cuda", 0)) is frame
    assert staging.send(frame).pixels.device.type == "cuda"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_frame_arrives_whole_on_the_device() -> None:
    cuda = torch.device("cuda", 0)
    frames = [prepare(picture(seed), odd_model().config.vision) for seed in range(20)]
    pinned = [pin(crops, cuda) for crops in frames]
    assert all(crops.pixels.is_pinned() for crops in pinned)
    staging = Staging(cuda)
    sent = [staging.send(crops) for crops in pinned]
    sent = staging.receive(sent)
    for crops, there in zip(frames, sent, strict=True):
        assert there.pixels.device == cuda
        assert torch.equal(there.pixels.cpu(), crops.pixels)
