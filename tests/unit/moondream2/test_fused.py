"""GELU inside the product: what can be seen without CUDA, and the product itself where there is."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from moondream2.fused import GeluLinear, can_fuse, fuse_gelu, is_tanh
from moondream2.mlp import Mlp
from tests.support.generation import odd_model

CPU = torch.device("cpu")


@pytest.mark.parametrize("shape", [(3, 32), (2, 5, 32)])
def test_layer_equals_product_and_gelu(shape: tuple[int, ...]) -> None:
    """On a CPU the operator computes the GELU without tanh."""
    dense, x = nn.Linear(32, 40), torch.randn(shape)
    with torch.inference_mode():
        torch.testing.assert_close(GeluLinear(dense)(x), functional.gelu(dense(x)))


def test_device_with_another_gelu_is_found_out() -> None:
    assert not is_tanh(CPU)


def test_device_with_the_gelu_of_the_model_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def as_on_cuda(bias: Tensor, rows: Tensor, weight: Tensor, *, use_gelu: bool) -> Tensor:
        assert use_gelu
        return functional.gelu(torch.addmm(bias, rows, weight), approximate="tanh")

    monkeypatch.setattr(torch, "_addmm_activation", as_on_cuda)
    assert is_tanh(CPU)


def test_nothing_is_fused_on_a_cpu() -> None:
    assert not can_fuse(odd_model().bfloat16())


def test_every_pair_of_layers_is_fused() -> None:
    model = odd_model()
    fuse_gelu(model)
    pairs = [module for module in model.modules() if isinstance(module, Mlp)]
    assert pairs
    assert all(isinstance(pair.fc1, GeluLinear) for pair in pairs)
    assert all(isinstance(pair.act, nn.Identity) for pair in pairs)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_device_computes_the_gelu_of_the_model() -> None:
    assert is_tanh(torch.device("cuda", 0))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@torch.inference_mode()
def test_fused_layers_are_as_near_to_float32_as_plain_ones() -> None:
    exact = Mlp(1152, 4304, 1152).cuda().requires_grad_(False)
    x = torch.randn(729, 1152, device="cuda")
    expected = exact(x)
    plain = exact.bfloat16()
    far = (plain(x.bfloat16()).float() - expected).abs().mean()
    plain.fc1, plain.act = GeluLinear(plain.fc1), nn.Identity()  # type: ignore[assignment]
    assert (plain(x.bfloat16()).float() - expected).abs().mean() < 1.2 * far
