"""8-bit layers against float32, alone and in a batch, and against the recorded reference."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from moondream2.errors import ModelFileError
from moondream2.int8 import Int8Linear, can_shrink, load_int8, shrink_linears
from moondream2.model import Moondream
from tests.support.checkpoints import FIXTURES, random_model, reference_tensors
from tests.unit.moondream2.test_text import run

pytestmark = pytest.mark.skipif(not can_shrink(), reason="no int8 kernels for this processor")


def _layer(width: int = 96, out: int = 64) -> tuple[nn.Linear, Int8Linear]:
    torch.manual_seed(0)
    dense = nn.Linear(width, out).requires_grad_(False)
    return dense, Int8Linear(dense.weight, dense.bias)


@pytest.mark.parametrize("shape", [(96,), (1, 96), (7, 96), (2, 5, 96)])
def test_shrunk_layer_is_close_to_the_dense_one(shape: tuple[int, ...]) -> None:
    dense, shrunk = _layer()
    x = torch.randn(shape)
    found, exact = shrunk(x), dense(x)
    assert found.shape == exact.shape
    assert found.dtype == torch.float32
    assert (found - exact).norm() / exact.norm() < 0.03


@pytest.mark.parametrize("num_rows", [2, 3, 8, 64, 729])
def test_row_alone_equals_itself_in_a_batch_bit_for_bit(num_rows: int) -> None:
    """Also beside a row a million times as large, which a common scale would wipe out."""
    _, shrunk = _layer()
    x = torch.randn(num_rows, 96)
    x[0] *= 1e6
    together = shrunk(x)
    assert all(torch.equal(shrunk(x[i : i + 1])[0], together[i]) for i in range(num_rows))


def test_greatest_products_do_not_overflow() -> None:
    """Where a processor adds pairs of products in 16 bits, 2 × 127 × 127 would be too much."""
    dense = nn.Linear(512, 4, bias=False).requires_grad_(False)
    dense.weight.fill_(1.0)
    dense.weight[1].fill_(-1.0)
    shrunk = Int8Linear(dense.weight, None)
    for x in (torch.ones(1, 512), -torch.ones(1, 512)):
        assert torch.allclose(shrunk(x), dense(x), rtol=0.01)


def test_row_without_a_scale_gives_the_bias_and_what_is_no_number_stays_none() -> None:
    dense, shrunk = _layer()
    assert torch.equal(shrunk(torch.zeros(1, 96))[0], dense.bias)
    x = torch.randn(2, 96)
    x[1, 3] = float("nan")
    found = shrunk(x)
    assert found[0].isfinite().all()
    assert found[1].isnan().all()


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


def test_what_reads_pixels_and_gives_coordinates_stays_exact() -> None:
    model = random_model()
    shrink_linears(model)
    kept = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    assert kept == {name for name in kept if name.startswith(("region.", "vision.patch_emb"))}
    assert model.dtype == torch.float32


def test_damaged_folder_is_told_as_ever(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((FIXTURES / "config.json").read_text())
    with pytest.raises(ModelFileError):
        load_int8(tmp_path)
