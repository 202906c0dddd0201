from dataclasses import replace
from typing import Literal

import psutil
import pytest
import torch

from engine.loading import DeviceError, choose_device, choose_dtype, load, name_of
from engine.protocol import ModelOptions
from moondream2.errors import QuantizeError
from moondream2.int8 import Int8Linear, can_shrink
from tests.support.checkpoints import FIXTURES


def test_choose_device_auto_is_cpu_without_cuda() -> None:
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert choose_device("auto").type == expected


@pytest.mark.parametrize("wanted", ["cuda:99", "toaster", "mps", "meta"])
def test_choose_device_that_is_not_there_says_so(wanted: str) -> None:
    with pytest.raises(DeviceError, match=wanted.rsplit(":", 1)[-1]) as caught:
        choose_device(wanted)
    assert "set model.device to auto, cpu, cuda, cuda:N or mps" in str(caught.value)


def test_choose_dtype_auto_on_mps_is_float16() -> None:
    assert choose_dtype("auto", torch.device("mps")) is torch.float16


@pytest.mark.parametrize("wanted", ["float32", "bfloat16", "float16"])
def test_choose_dtype_is_what_was_asked_for(wanted: str) -> None:
    assert name_of(choose_dtype(wanted, torch.device("cpu"))) == wanted


def test_choose_dtype_auto_on_cpu_follows_its_instructions() -> None:
    features = torch.cpu.get_capabilities()
    fast = any(features.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    expected = torch.bfloat16 if fast else torch.float32
    assert choose_dtype("auto", torch.device("cpu")) is expected


def options(dtype: str, quantization: Literal["auto", "none", "int8", "int4"]) -> ModelOptions:
    return ModelOptions(
        str(FIXTURES), "2025-06-21", "cpu", dtype, slots=1, quantization=quantization
    )


def test_int8_on_a_cpu_cannot_be_compiled_and_says_so() -> None:
    with pytest.raises(QuantizeError, match=r"model\.compile.* model\.quantization"):
        load(replace(options("auto", "int8"), compile=True), lambda _: None)


@pytest.mark.skipif(not can_shrink(), reason="no int8 kernels for this processor")
@pytest.mark.parametrize("dtype", ["auto", "float32", "bfloat16"])
def test_int8_on_a_cpu_is_our_own_whatever_the_dtype(dtype: str) -> None:
    told: list[str] = []
    loaded = load(options(dtype, "int8"), told.append)
    assert (loaded.dtype, loaded.quantization) == (torch.float32, "int8")
    assert loaded.max_crops == loaded.engine.model.config.vision.max_crops  # it is a small one
    assert 0 < (loaded.seconds_per_frame or 0) < 20
    assert any(isinstance(each, Int8Linear) for each in loaded.engine.model.modules())
    assert any(text.endswith("to cpu as int8") for text in told)


@pytest.mark.parametrize("dtype", ["auto", "float32"])
def test_small_model_stays_exact_by_itself(dtype: str) -> None:
    told: list[str] = []
    loaded = load(options(dtype, "auto"), told.append)
    assert loaded.quantization == "none"
    assert loaded.dtype is choose_dtype(dtype, torch.device("cpu"))


def test_int4_on_a_cpu_is_refused_before_anything_is_read() -> None:
    told: list[str] = []
    with pytest.raises(QuantizeError, match=r"model\.quantization: int4"):
        load(options("auto", "int4"), told.append)
    assert not [text for text in told if text.startswith("loading")]


def test_compiling_without_a_compiler_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The model is there all the same, and what compiling excludes is not."""
    monkeypatch.setenv("CXX", "no-such-compiler")
    told: list[str] = []
    loaded = load(replace(options("float32", "none"), compile=True), told.append)
    assert loaded.engine.has_work is False
    assert "warming up" not in told
    [said] = [each.getMessage() for each in caplog.records if each.name == "engine.loading"]
    assert "no-such-compiler was not found: the passes run as they are" in said


class Memory:
    """A machine with little of it."""

    available = 1 << 20


def test_too_little_memory_is_said_before_loading(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", Memory)
    told: list[str] = []
    load(options("float32", "auto"), told.append)
    (said,) = [text for text in told if text.startswith("loading")]
    assert "as float32, which needs about" in said
    assert "GiB are available; model.quantization: int8 needs" in said
    assert "needs about" in caplog.text
