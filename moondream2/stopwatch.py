"""How long a pass takes on its device, without waiting for it while it runs."""

import time

import torch


class Stopwatch:
    """Measures from now until `stop`.

    Args:
        device: Where the passes between run; on CUDA they are still running when they are launched,
            so the device itself notes the time. On MPS the first look at `seconds` ends it, which
            is to come when the results have arrived.
    """

    def __init__(self, device: torch.device) -> None:
        self._events: tuple[torch.cuda.Event, torch.cuda.Event] | None = None
        if device.type == "cuda":
            self._events = _event(), _event()
            self._events[0].record(torch.cuda.current_stream(device))
        self._device = device
        self._started_at = time.monotonic()
        self._stopped_at: float | None = None

    def stop(self) -> None:
        """Note the end of what has been launched."""
        if self._events is not None:
            self._events[1].record(torch.cuda.current_stream(self._device))
        if self._device.type != "mps":
            self._stopped_at = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds between start and stop; waits until the device is that far."""
        if self._events is None:
            if self._stopped_at is None:
                self._stopped_at = time.monotonic()
            return self._stopped_at - self._started_at
        self._events[1].synchronize()
        return float(self._events[0].elapsed_time(self._events[1])) / 1000


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
