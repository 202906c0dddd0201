"""What benches of the engine measure with."""

import pytest
import torch

from bench.engine import DEMO, random_model, shortened, use_device
from moondream2.config import MoondreamConfig, public_config
from moondream2.text import attend_with


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_activations_of_a_random_model_neither_vanish_nor_grow(dtype: torch.dtype) -> None:
    """Kernels and rounding are then measured on numbers like those of a trained model."""
    config = MoondreamConfig.from_folder(DEMO)
    model = random_model(config, torch.device("cpu"), dtype)
    size, length = config.vision.crop_size, config.text.prefix_length
    features = model.vision(torch.randn(2, 3, size, size).to(dtype)).float()
    assert 0.5 < float(features.std()) < 2
    embeddings = model.prefix_embeddings(features.new_zeros(1, length - 1, 192).to(dtype))
    embeddings = embeddings + model.text.wte[:length]
    hidden = model.text(embeddings, torch.arange(length)[None], attend_with(None)).float()
    assert 0.3 < float(hidden.std()) < 10
    logits = model.text.logits(hidden.to(dtype)).float()[..., 1:]
    assert 0.3 < float(logits.std()) < 10


def test_shortened_model_has_the_widths_of_the_whole_one() -> None:
    whole = public_config()
    short = shortened(whole, 3)
    assert (short.text.layers, short.vision.layers) == (3, 3)
    assert short.text.hidden_size == whole.text.hidden_size
    assert shortened(whole, None) == shortened(whole, 99) == whole


@pytest.mark.parametrize(
    ("name", "used"), [("cuda:1", ["cuda:1"]), ("cuda", ["cuda:0"]), ("cpu", [])]
)
def test_device_that_is_named_is_the_one_that_is_used(
    name: str, used: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    current: list[str] = []
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: current.append(str(device)))
    assert str(use_device(name)) == (used[0] if used else "cpu")
    assert current == used
