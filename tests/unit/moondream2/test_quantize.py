import importlib.util

import pytest
import torch
from torch import Tensor

from moondream2.errors import QuantizeError
from moondream2.model import Moondream
from moondream2.quantize import quantize_weights
from tests.support.checkpoints import FIXTURES, random_model, reference_tensors
from tests.unit.moondream2.test_text import run

HAS_TORCHAO = importlib.util.find_spec("torchao") is not None
needs_torchao = pytest.mark.skipif(not HAS_TORCHAO, reason="torchao is not installed")


def _logits(model: Moondream) -> Tensor:
    prompt = [1, 469, 2, 87, 319, 388, 3]
    embeddings = reference_tensors()["img0.image_embeds"].to(model.device, model.dtype)
    return model.text.logits(run(model, prompt, embeddings)[0, -1]).float()


@needs_torchao
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_quantize_int8_stays_close_to_the_reference(dtype: torch.dtype) -> None:
    model = Moondream.load(FIXTURES, dtype=dtype)
    quantize_weights(model, "int8")
    exact = reference_tensors()["img0.caption_normal.logits"]
    error = (_logits(model) - exact).abs().max() / exact.abs().max()
    assert 1e-4 < error < 0.05


@needs_torchao
def test_quantize_int8_leaves_vision_embedding_and_head() -> None:
    model = random_model()
    quantize_weights(model, "int8")
    shrunk = {
        name
        for name, weight in model.named_parameters()
        if type(weight.data) is not Tensor and type(weight) is not torch.nn.Parameter
    }
    assert len(shrunk) == 2 * 4 + 6
    assert all(name.startswith(("text.blocks.", "region.")) for name in shrunk)


def test_quantize_int4_on_the_cpu_is_refused() -> None:
    with pytest.raises(QuantizeError, match="needs CUDA"):
        quantize_weights(random_model(), "int4")


@pytest.mark.skipif(HAS_TORCHAO, reason="torchao is installed")
def test_quantize_without_torchao_names_the_extra() -> None:
    with pytest.raises(QuantizeError, match="extra `quantized`"):
        quantize_weights(random_model(), "int8")


@needs_torchao
@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_quantize_int4_on_cuda_stays_close_to_the_reference() -> None:
    model = Moondream.load(FIXTURES, device="cuda", dtype=torch.bfloat16)
    quantize_weights(model, "int4")
    exact = reference_tensors()["img0.caption_normal.logits"]
    error = (_logits(model).cpu() - exact).abs().max() / exact.abs().max()
    assert 1e-4 < error < 0.5
