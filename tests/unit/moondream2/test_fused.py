"""Fused layers against the plain ones; what only CUDA computes is tested where there is one."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from engine.loading import arrange_layers
from moondream2.compiled import Compiler, compile_vision
from moondream2.config import public_config
from moondream2.fused import GeluLinear, PaddedLinear, can_fuse, fuse_layers
from moondream2.mlp import Mlp
from moondream2.model import Moondream
from moondream2.vision import VisionModel
from tests.support.checkpoints import (
    FIXTURES,
    assert_near,
    random_model,
    reference_model,
    reference_tensors,
)
from tests.support.launches import META, Launches
from tests.support.reference import image_crops
from tests.unit.moondream2.test_text import run

needs_cuda = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
SHORT = (torch.bfloat16, torch.float16)


class _OnCuda(Moondream):
    """A model that says that it is on CUDA and runs on the CPU."""

    @property
    def device(self) -> torch.device:
        return torch.device("cuda")


def _mlps(model: Moondream) -> Iterator[Mlp]:
    return (each for each in model.modules() if isinstance(each, Mlp))


@pytest.mark.parametrize("dtype", [*SHORT, torch.float32])
@pytest.mark.parametrize("device", ["cuda", "cuda:1", "cpu", "mps", "meta"])
def test_only_short_formats_on_cuda_are_fused(device: str, dtype: torch.dtype) -> None:
    is_fused = device.startswith("cuda") and dtype in SHORT
    assert can_fuse(torch.device(device), dtype) is is_fused


def test_form_is_chosen_when_a_model_is_loaded() -> None:
    plain = random_model().to(torch.float16)
    arrange_layers(plain, print, is_compiled=False)
    assert {type(mlp.act) for mlp in _mlps(plain)} == {nn.GELU}
    assert type(plain.vision.patch_emb) is nn.Linear
    cuda = _OnCuda(plain.config).to(torch.float16)
    arrange_layers(cuda, print, is_compiled=False)
    assert {type(mlp.act) for mlp in _mlps(cuda)} == {nn.Identity}
    assert {type(mlp.get_submodule("fc1")) for mlp in _mlps(cuda)} == {GeluLinear}
    assert isinstance(cuda.vision.get_submodule("patch_emb"), PaddedLinear)


@pytest.mark.parametrize("shape", [(24,), (1, 24), (3, 5, 24)])
def test_gelu_linear_activates_what_the_linear_layer_gives(shape: tuple[int, ...]) -> None:
    linear = nn.Linear(24, 40).requires_grad_(False)
    x = torch.randn(shape)
    # On a CPU the operator has the other form of GELU.
    torch.testing.assert_close(GeluLinear(linear)(x), gelu(linear(x)))


@pytest.mark.parametrize("length", [24, 588, 591])
def test_padded_linear_equals_linear_and_begins_rows_at_16_bytes(length: int) -> None:
    linear = nn.Linear(length, 40).requires_grad_(False)
    padded = PaddedLinear(linear)
    assert padded.weight.stride() == (-(-length // 8) * 8, 1)
    x = torch.randn(2, 9, length)
    torch.testing.assert_close(padded(x), linear(x))


def test_fused_model_has_the_state_of_the_plain_one() -> None:
    model = random_model().to(torch.bfloat16)
    expected = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fuse_layers(model)
    found = model.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    other = random_model(seed=1).to(torch.bfloat16)
    fuse_layers(other)
    other.load_state_dict(found)
    patches = torch.randn(4, model.config.vision.patch_values, dtype=torch.bfloat16)
    assert torch.equal(other.vision.patch_emb(patches), model.vision.patch_emb(patches))


def test_padded_patches_of_recorded_picture_equal_the_reference() -> None:
    vision = VisionModel(reference_model().config.vision)
    vision.load_state_dict(reference_model().vision.state_dict())
    vision.requires_grad_(False).patch_emb = PaddedLinear(vision.patch_emb)  # type: ignore[assignment]
    embeddings = vision.encode([image_crops(0)])[0]
    assert_near(embeddings, reference_tensors()["img0.image_embeds"])


def test_weights_of_another_format_stay() -> None:
    model = random_model()
    layer = next(_mlps(model)).fc1
    layer.weight = nn.Parameter(layer.weight.data.as_subclass(_Other), requires_grad=False)
    fuse_layers(model)
    assert next(_mlps(model)).fc1 is layer
    assert type(next(_mlps(model)).act) is nn.GELU


class _Other(Tensor):
    """Stands for the quantised weights of torchao."""


def test_fused_encoder_can_be_captured_whole() -> None:
    torch._dynamo.reset()
    model, captured = random_model(), random_model()
    fuse_layers(model)
    fuse_layers(captured)
    compile_vision(captured.vision, Compiler("eager"))
    crops = torch.randn(2, 3, 112, 112)
    with torch.inference_mode():
        assert torch.equal(captured.vision(crops), model.vision(crops))


@torch.inference_mode()
def test_fused_encoder_launches_no_gelu_and_neither_writes_nor_reads_its_input() -> None:
    """Three frames of 720p through the encoder of the public model."""
    with META:
        model = Moondream(public_config()).to(torch.bfloat16)
        crops = torch.empty(3 * 9, 3, 378, 378, dtype=torch.bfloat16)
    with Launches() as plain:
        model.vision(crops)
    fuse_layers(model)
    with Launches() as fused:
        model.vision(crops)
    assert fused.calls["gelu"] == 0
    assert fused.calls["_addmm_activation"] == model.config.vision.layers
    assert (plain.count, plain.bytes // 10**6) == (273, 46_312)
    assert (fused.count, fused.bytes // 10**6) == (247, 37_209)


@pytest.mark.parametrize("dtype", SHORT)
@pytest.mark.parametrize("rows", [1, 64, 729])
@pytest.mark.parametrize("mark", [pytest.param(None, marks=needs_cuda)])
def test_gelu_linear_on_cuda_is_the_tanh_form(rows: int, dtype: torch.dtype, mark: None) -> None:
    linear = nn.Linear(1152, 4304, device="cuda", dtype=dtype).requires_grad_(False)
    x = 3 * torch.randn(rows, 1152, device="cuda", dtype=dtype)
    found = GeluLinear(linear)(x).float()
    before = linear.float()(x.float())
    tanh, erf = (gelu(before, approximate=kind) for kind in ("tanh", "none"))
    assert_near(found, tanh, bound=0.01)
    assert (found - tanh).abs().mean() < (found - erf).abs().mean()


@pytest.mark.parametrize("dtype", SHORT)
@pytest.mark.parametrize("mark", [pytest.param(None, marks=needs_cuda)])
def test_fused_model_on_cuda_is_as_near_to_the_reference_as_the_plain_one(
    dtype: torch.dtype, mark: None
) -> None:
    """The reference in bfloat16 is 1.6 to 3.5 % away from its own float32."""
    model = Moondream.load(FIXTURES, device="cuda", dtype=dtype)
    fuse_layers(model)
    expected = reference_tensors()
    embeddings = model.vision.encode([image_crops(0)])[0]
    assert_near(embeddings.float().cpu(), expected["img0.image_embeds"], bound=0.05)
    hidden = run(model, [1, 469, 2, 87, 319, 388, 3], embeddings)[0, -1]
    logits = model.text.logits(hidden).float().cpu()
    assert_near(logits, expected["img0.caption_normal.logits"], bound=0.05)
