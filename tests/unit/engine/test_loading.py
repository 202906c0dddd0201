import pytest
import torch

from engine.loading import DeviceError, choose_device, choose_dtype, name_of


def test_choose_device_auto_is_cpu_without_cuda() -> None:
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert choose_device("auto").type == expected


@pytest.mark.parametrize("wanted", ["cuda:99", "toaster", "mps", "meta"])
def test_choose_device_that_is_not_there_says_so(wanted: str) -> None:
    with pytest.raises(DeviceError, match=wanted.rsplit(":", 1)[-1]):
        choose_device(wanted)


@pytest.mark.parametrize("wanted", ["float32", "bfloat16", "float16"])
def test_choose_dtype_is_what_was_asked_for(wanted: str) -> None:
    assert name_of(choose_dtype(wanted, torch.device("cpu"))) == wanted


def test_choose_dtype_auto_on_cpu_follows_its_instructions() -> None:
    features = torch.cpu.get_capabilities()
    fast = any(features.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    expected = torch.bfloat16 if fast else torch.float32
    assert choose_dtype("auto", torch.device("cpu")) is expected
