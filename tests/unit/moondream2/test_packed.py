"""Packed layers against the dense ones, and against the recorded reference."""

import pytest
import torch
from torch import Tensor, nn

from moondream2.mlp import Mlp
from moondream2.model import Moondream
from moondream2.packed import PackedLinear, can_pack, pack_linears
from tests.support.checkpoints import FIXTURES, random_model, reference_tensors
from tests.unit.moondream2.test_text import run

needs_bfloat16 = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="oneDNN has no bfloat16 here"
)


def _close(found: Tensor, exact: Tensor, share: float) -> bool:
    return bool((found.float() - exact.float()).abs().max() <= share * exact.float().abs().max())


@needs_bfloat16
@pytest.mark.parametrize("shape", [(1, 24), (1, 7, 24), (3, 5, 24)])
@pytest.mark.parametrize("has_bias", [True, False])
def test_packed_linear_equals_dense_linear(shape: tuple[int, ...], has_bias: bool) -> None:
    dense = nn.Linear(24, 40, bias=has_bias, dtype=torch.bfloat16).requires_grad_(False)
    x = torch.randn(shape, dtype=torch.bfloat16)
    packed = PackedLinear(dense)(x)
    assert packed.shape == (*shape[:-1], 40)
    assert packed.dtype == torch.bfloat16
    assert _close(packed, dense.float()(x.float()), 0.01)


@needs_bfloat16
def test_packed_linear_applies_gelu_in_its_tanh_form() -> None:
    dense = nn.Linear(24, 4000, dtype=torch.bfloat16).requires_grad_(False)
    x = 3 * torch.randn(9, 24, dtype=torch.bfloat16)
    packed = PackedLinear(dense, "gelu")(x).float()
    before = dense.float()(x.float())
    tanh, erf = (nn.functional.gelu(before, approximate=kind) for kind in ("tanh", "none"))
    assert (packed - tanh).abs().mean() < (packed - erf).abs().mean()
    assert _close(packed, tanh, 0.01)


@needs_bfloat16
def test_pack_linears_stays_as_close_to_the_reference_as_bfloat16_can() -> None:
    exact = reference_tensors()["img0.caption_normal.logits"]
    model = Moondream.load(FIXTURES, dtype=torch.bfloat16)
    pack_linears(model)
    # The reference in bfloat16 is 1.6 to 3.5 % away from itself in float32.
    assert _close(_logits(model), exact, 0.05)


def _logits(model: Moondream) -> Tensor:
    prompt = [1, 469, 2, 87, 319, 388, 3]
    embeddings = reference_tensors()["img0.image_embeds"].to(model.dtype)
    return model.text.logits(run(model, prompt, embeddings)[0, -1]).float()


@needs_bfloat16
def test_pack_linears_leaves_no_dense_layer_and_no_second_activation() -> None:
    model = random_model().to(torch.bfloat16)
    pack_linears(model)
    kinds = [type(module) for module in model.modules()]
    assert nn.Linear not in kinds
    assert all(type(each.act) is nn.Identity for each in model.modules() if isinstance(each, Mlp))


@needs_bfloat16
def test_pack_linears_leaves_weights_of_another_format() -> None:
    model = random_model().to(torch.bfloat16)
    mlp = model.text.get_submodule("blocks.0.mlp")
    assert isinstance(mlp, Mlp)
    layer = mlp.fc1
    layer.weight = nn.Parameter(layer.weight.data.as_subclass(_Other), requires_grad=False)
    pack_linears(model)
    assert mlp.fc1 is layer
    assert type(mlp.act) is nn.GELU
    assert type(mlp.get_submodule("fc2")) is PackedLinear


class _Other(Tensor):
    """Stands for the quantised weights of torchao."""


@needs_bfloat16
def test_can_pack_only_bfloat16_on_the_cpu() -> None:
    assert can_pack(random_model().to(torch.bfloat16))
    assert not can_pack(random_model())
    assert not can_pack(random_model().to(torch.float16))
    assert not can_pack(random_model().to(torch.bfloat16).to("meta"))
