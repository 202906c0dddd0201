"""Readings of NVIDIA devices through NVML; none where there is no driver."""

import logging
from contextlib import suppress
from types import TracebackType
from typing import Any

import pynvml

from schemas.status import Gpu, GpuMemory, GpuUtilization

logger = logging.getLogger(__name__)


class GpuReader:
    """Reads every device NVML shows. A context manager."""

    def __init__(self) -> None:
        self._handles: list[Any] = []
        self._is_open = False

    def __enter__(self) -> "GpuReader":
        try:
            pynvml.nvmlInit()
            self._is_open = True
            count = pynvml.nvmlDeviceGetCount()
            self._handles = [pynvml.nvmlDeviceGetHandleByIndex(number) for number in range(count)]
        except pynvml.NVMLError as error:
            logger.debug("no NVIDIA readings: %s", error)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._is_open:
            with suppress(pynvml.NVMLError):
                pynvml.nvmlShutdown()

    def read(self) -> tuple[Gpu, ...]:
        """One reading per device that answers; a value the device does not give is None."""
        readings = (_optional(self._read, *each) for each in enumerate(self._handles))
        return tuple(reading for reading in readings if reading is not None)

    def _read(self, number: int, handle: Any) -> Gpu:
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        utilization = _optional(pynvml.nvmlDeviceGetUtilizationRates, handle)
        power = _optional(pynvml.nvmlDeviceGetPowerUsage, handle)  # milliwatts
        name = pynvml.nvmlDeviceGetName(handle)
        return Gpu(
            id=number,
            name=name.decode() if isinstance(name, bytes) else name,
            memory=GpuMemory(total=memory.total, used=memory.used, free=memory.free),
            temperature=_optional(
                pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU
            ),
            utilization=None
            if utilization is None
            else GpuUtilization(gpu=utilization.gpu, memory=utilization.memory),
            power=None if power is None else power / 1000,
        )


def _optional(read: Any, *arguments: Any) -> Any:
    try:
        return read(*arguments)
    except pynvml.NVMLError:  # not supported by this device, or it is lost
        return None
