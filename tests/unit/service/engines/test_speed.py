"""What is said to who has a slow device."""

from dataclasses import replace
from typing import Any

import pytest

from engine.protocol import Ready
from service.engines.speed import ways_to_be_faster

READY = Ready(
    model="m",
    revision="r",
    device="cpu",
    dtype="float32",
    capacity=1,
    load_seconds=1.0,
    vram_mb=0.0,
    ram_mb=1.0,
    seconds_per_frame=52.0,
    can_shrink=True,
)
SHORT = "length: short"


@pytest.mark.parametrize("seconds", [None, 0.2, 4.9])
def test_quick_or_unmeasured_device_is_left_alone(seconds: float | None) -> None:
    assert ways_to_be_faster(replace(READY, seconds_per_frame=seconds)) == []


def test_slow_device_gets_what_would_help() -> None:
    everything = ["model.quantization: int8", "model.max_crops: 2", SHORT]
    assert ways_to_be_faster(READY) == everything


def test_what_is_done_already_is_not_said() -> None:
    assert ways_to_be_faster(replace(READY, quantization="int8", max_crops=2)) == [SHORT]


@pytest.mark.parametrize("fields", [{"can_shrink": False}, {"dtype": "bfloat16"}])
def test_int8_is_not_said_where_it_cannot_be_had_or_is_no_faster(fields: dict[str, Any]) -> None:
    """It would be refused on ARM and beside model.compile."""
    assert ways_to_be_faster(replace(READY, **fields)) == ["model.max_crops: 2", SHORT]


def test_int8_is_for_cpus() -> None:
    assert ways_to_be_faster(replace(READY, device="cuda:0")) == ["model.max_crops: 2", SHORT]
