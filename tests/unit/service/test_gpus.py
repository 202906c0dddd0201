"""Readings of devices that fail. NVML itself is the fault that is injected."""

from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from service.gpus import GpuReader


def lost(*_: Any) -> Any:
    raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)


class Driver:
    """Two devices, of which the second can be lost."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_lost = False
        for name, answer in {
            "nvmlInit": lambda: None,
            "nvmlShutdown": lambda: None,
            "nvmlDeviceGetCount": lambda: 2,
            "nvmlDeviceGetHandleByIndex": lambda number: number,
            "nvmlDeviceGetMemoryInfo": self._memory,
            "nvmlDeviceGetUtilizationRates": lost,
            "nvmlDeviceGetPowerUsage": lambda _: 1500,
            "nvmlDeviceGetName": lambda _: b"GPU",
            "nvmlDeviceGetTemperature": lambda *_: 40,
        }.items():
            monkeypatch.setattr(pynvml, name, answer)

    def _memory(self, handle: int) -> Any:
        return lost() if handle == 1 and self.is_lost else SimpleNamespace(total=3, used=1, free=2)


def test_device_that_is_lost_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(monkeypatch)
    with GpuReader() as gpus:
        assert [gpu.id for gpu in gpus.read()] == [0, 1]
        driver.is_lost = True
        assert [gpu.id for gpu in gpus.read()] == [0]


@pytest.mark.parametrize("name", ["nvmlInit", "nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex"])
def test_driver_that_refuses_is_no_driver(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    Driver(monkeypatch)
    monkeypatch.setattr(pynvml, name, lost)
    monkeypatch.setattr(pynvml, "nvmlShutdown", lost)
    with GpuReader() as gpus:
        assert gpus.read() == ()
