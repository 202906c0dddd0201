"""How long work takes on its device, and what it launches there."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.profiler import ProfilerActivity, profile

from moondream2.stopwatch import Stopwatch

#: What the host calls to start work on the device; a replayed graph is one.
_LAUNCHES = ("cudaLaunchKernel", "cuLaunchKernel", "cudaGraphLaunch", "hipLaunchKernel")
#: Parts of the names of attention kernels, and of the operators that stand for them on a CPU.
_ATTENTION = ("flash", "fmha", "attn", "attention", "sdpa")


def timed(work: Callable[[], object], device: torch.device, repeats: int = 10) -> float:
    """Return the mean seconds of some runs in a row, after one that does not count."""
    work()
    watch = Stopwatch(device)
    for _ in range(repeats):
        work()
    watch.stop()
    return watch.seconds / repeats


@dataclass(frozen=True)
class Profile:
    """What a piece of work launched."""

    #: Calls of the host that start something; 0 on a CPU.
    num_launches: int
    #: Kernels that ran on the device; 0 on a CPU.
    num_kernels: int
    #: Names of the attention kernels, shortened.
    attention: tuple[str, ...]
    #: Calls of cuDNN's attention, each of which builds a plan if its shape is new.
    num_cudnn_attention: int


def profiled(work: Callable[[], object], device: torch.device) -> Profile:
    """Run work once under torch's profiler."""
    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as seen:
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    found = [(each.key, each.count, each.device_type.name) for each in seen.key_averages()]
    return _summary(found, device)


def _summary(found: list[tuple[str, int, str]], device: torch.device) -> Profile:
    kernels = [(name, count) for name, count, kind in found if kind != "CPU"]
    names = [name for name, _ in kernels] if device.type == "cuda" else [name for name, *_ in found]
    attention = {name for name in names if any(part in name.lower() for part in _ATTENTION)}
    return Profile(
        num_launches=sum(n for name, n, _ in found if name.startswith(_LAUNCHES)),
        num_kernels=sum(count for _, count in kernels),
        attention=tuple(sorted(name[:80] for name in attention)),
        # A call of the operator, or where a graph is replayed and calls none, its kernel.
        num_cudnn_attention=sum(
            count
            for name, count, _ in found
            if "cudnn" in name and any(part in name for part in _ATTENTION)
        ),
    )
