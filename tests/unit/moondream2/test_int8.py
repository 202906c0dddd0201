"""8-bit layers against float32, alone and in a batch, and against the recorded reference."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from moondream2.errors import ModelFileError, QuantizeError
from moondream2.int8 import (
    HalfLinear,
    Int8Linear,
    can_shrink,
    load_int8,
    shrink_linears,
    shrunk_bytes,
    weight_steps,
)
from moondream2.model import Moondream
from tests.support.checkpoints import FIXTURES, random_model, reference_tensors
from tests.unit.moondream2.test_text import run

pytestmark = pytest.mark.skipif(not can_shrink(), reason="no int8 kernels for this processor")


#: 8 bits where the kernels allow it, and the 7 that they always do.
STEPS = sorted({64, weight_steps()}) if can_shrink() else []


def _layer(width: int = 96, out: int = 64, steps: int | None = None) -> tuple[nn.Linear, nn.Module]:
    """A dense layer and its 8-bit form, that of 16 bits when `steps` is 0."""
    torch.manual_seed(0)
    dense = nn.Linear(width, out).requires_grad_(False)
    if steps == 0:
        return dense, HalfLinear(dense.weight, dense.bias)
    return dense, Int8Linear(dense.weight, dense.bias, steps)


@pytest.mark.parametrize(("steps", "bound"), [(0, 3e-4), (127, 0.015), (64, 0.02)])
@pytest.mark.parametrize("shape", [(96,), (1, 96), (7, 96), (2, 5, 96)])
def test_shrunk_layer_is_close_to_the_dense_one(
    shape: tuple[int, ...], steps: int, bound: float
) -> None:
    if steps > weight_steps():
        pytest.skip("kernels that add in 16 bits")
    dense, shrunk = _layer(steps=steps)
    x = torch.randn(shape)
    found, exact = shrunk(x), dense(x)
    assert found.shape == exact.shape
    assert found.dtype == torch.float32
    assert (found - exact).norm() / exact.norm() < bound


@pytest.mark.parametrize("steps", [0, *STEPS])
@pytest.mark.parametrize("num_rows", [2, 3, 7, 8, 64, 729])
def test_row_alone_equals_itself_in_a_batch_bit_for_bit(num_rows: int, steps: int) -> None:
    """Also beside a row a million times as large, which a common scale would wipe out."""
    _, shrunk = _layer(steps=steps)
    x = torch.randn(num_rows, 96)
    x[0] *= 1e6
    together = shrunk(x)
    assert all(torch.equal(shrunk(x[i : i + 1])[0], together[i]) for i in range(num_rows))


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("num_rows", [1, 8, 33])
def test_greatest_products_do_not_overflow(num_rows: int, steps: int) -> None:
    """Where a processor adds pairs of products in 16 bits, 2 × 127 × 127 would be too much."""
    dense = nn.Linear(2048, 4, bias=False).requires_grad_(False)
    dense.weight.fill_(1.0)
    dense.weight[1].fill_(-1.0)
    shrunk = Int8Linear(dense.weight, None, steps)
    for x in (torch.ones(num_rows, 2048), -torch.ones(num_rows, 2048)):
        assert torch.allclose(shrunk(x), dense(x), rtol=1e-4)


#: Layers of both kinds with one, with six and with many rows, as numbers that can be compared.
_SCRIPT = """
import hashlib, torch
from moondream2.int8 import HalfLinear, Int8Linear, weight_steps
torch.manual_seed(0)
weight, x = torch.randn(300, 500), torch.randn(50, 500)
for layer in (Int8Linear(weight, None, 64), HalfLinear(weight, None)):
    alone = torch.cat([layer(row[None]) for row in x])
    assert torch.equal(alone, layer(x))
    print(hashlib.sha256(alone.numpy().tobytes()).hexdigest())
print(weight_steps())
greatest = torch.ones(4, 512)
assert torch.allclose(Int8Linear(greatest, None)(greatest), greatest @ greatest.T)
"""


def _on(instructions: str) -> list[str]:
    """What the layers give with the kernels for these instructions, as if there were no others."""
    capability = "avx2" if instructions == "AVX2" else "avx512"
    environment = os.environ | {
        "FBGEMM_ENABLE_INSTRUCTIONS": instructions,
        "ATEN_CPU_CAPABILITY": capability,
    }
    command = [sys.executable, "-c", _SCRIPT]
    output = subprocess.run(command, env=environment, capture_output=True, check=True, text=True)
    return output.stdout.split()


@pytest.mark.skipif(weight_steps() == 64, reason="this processor has no other kernels")
def test_kernels_without_vnni_get_7_bits_and_give_the_same() -> None:
    """The flags still say AVX-VNNI there: the kernels must be asked what they do."""
    *without, steps = _on("AVX2")
    assert steps == "64"
    *with_vnni, most = _on("AVX512_E1")
    assert most == "127"
    assert without == with_vnni


def test_row_without_a_scale_gives_the_bias_and_what_is_no_number_stays_none() -> None:
    dense, shrunk = _layer()
    assert torch.equal(shrunk(torch.zeros(1, 96))[0], dense.bias)
    x = torch.randn(2, 96)
    x[1, 3] = float("nan")
    found = shrunk(x)
    assert found[0].isfinite().all()
    assert found[1].isnan().all()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -70_000.0])
def test_weight_that_16_bits_cannot_hold_is_named(value: float) -> None:
    """The kernels would take 65,504 for it, and answer with numbers that mean nothing."""
    model = random_model()
    model.region.coord_decoder.fc1.weight[1, 2] = value
    with pytest.raises(QuantizeError, match=r"coord_decoder\.fc1.*model\.quantization: none"):
        shrink_linears(model)


def _logits(model: Moondream) -> Tensor:
    embeddings = reference_tensors()["img0.image_embeds"]
    prompt = [1, 469, 2, 87, 319, 388, 3]
    return model.text.logits(run(model, prompt, embeddings)[0, -1])


def test_loaded_in_8_bits_it_stays_close_to_the_reference() -> None:
    exact = reference_tensors()["img0.caption_normal.logits"]
    error = (_logits(load_int8(FIXTURES)) - exact).abs().max() / exact.abs().max()
    assert 1e-5 < error < 0.05


def test_shrunk_in_memory_it_is_what_is_loaded_shrunk() -> None:
    in_memory = Moondream.load(FIXTURES)
    shrink_linears(in_memory)
    assert torch.equal(_logits(in_memory), _logits(load_int8(FIXTURES)))


def test_what_reads_pixels_and_gives_coordinates_has_16_bits() -> None:
    model = random_model()
    shrink_linears(model)
    kept = {name for name, module in model.named_modules() if isinstance(module, HalfLinear)}
    assert len(kept) == 7
    assert kept == {name for name in kept if name.startswith(("region.", "vision.patch_emb"))}
    assert not [each for each in model.modules() if isinstance(each, nn.Linear)]
    assert model.dtype == torch.float32


def test_shrunk_bytes_are_those_of_each_format() -> None:
    model = random_model()
    total = sum(parameter.numel() for parameter in model.parameters())
    wide = {name: m.weight.numel() for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    half = sum(n for name, n in wide.items() if name.startswith(("region.", "vision.patch_emb")))
    assert shrunk_bytes(model) == 4 * (total - sum(wide.values())) + sum(wide.values()) + half


def test_damaged_folder_is_told_as_ever(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((FIXTURES / "config.json").read_text())
    with pytest.raises(ModelFileError):
        load_int8(tmp_path)
