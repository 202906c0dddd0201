"""Model folders for tests: the recorded reference, and random models of other shapes."""

import copy
import json
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from moondream2.config import MoondreamConfig
from moondream2.model import Moondream

FIXTURES = Path(
    os.environ.get(
        "MOONDREAM2MQTT_FIXTURES",
        Path(__file__).parents[1] / "data" / "moondream-tiny-ref",
    )
)

#: Unlike the public model wherever it may be: crop, grid, patch, heads, depth, widths, bins.
ODD_SHAPE: dict[str, Any] = {
    "name": "odd",
    "text": {
        "hidden_size": 48,
        "mlp_size": 80,
        "layers": 2,
        "heads": 6,
        "kv_heads": 2,
        "head_dim": 8,
        "rotary_dim": 4,
        "rope_theta": 500.0,
        "vocab_size": 90,
        "max_context": 128,
        "prefix_length": 65,
        "layer_norm_eps": 1e-05,
    },
    "vision": {
        "hidden_size": 36,
        "mlp_size": 50,
        "layers": 3,
        "heads": 3,
        "patch_size": 14,
        "crop_size": 112,
        "grid_size": 8,
        "channels": 3,
        "max_crops": 6,
        "overlap_margin": 1,
        "projector_hidden_size": 40,
        "projector_out_size": 48,
        "layer_norm_eps": 1e-05,
    },
    "region": {
        "hidden_size": 48,
        "inner_size": 30,
        "coord_features": 12,
        "coord_bins": 64,
        "size_features": 20,
        "size_bins": 32,
        "size_mapping": "log",
    },
    "tokens": {"bos": 0, "eos": 0, "answer": 3, "thinking": 4, "coord": 5, "size": 6},
    "prompts": {
        "caption": {"short": [1, 20, 3], "normal": [1, 21, 22, 3]},
        "query": {"prefix": [1, 23], "suffix": [3]},
        "detect": {"prefix": [1, 24], "suffix": [3]},
        "point": {"prefix": [1, 25], "suffix": [3]},
    },
}


def shape(**sections: Mapping[str, Any]) -> dict[str, Any]:
    """Return `ODD_SHAPE` with some keys of its sections changed."""
    data = copy.deepcopy(ODD_SHAPE)
    for section, changes in sections.items():
        data.setdefault(section, {}).update(changes)
    return data


def random_model(data: Mapping[str, Any] = ODD_SHAPE, seed: int = 0) -> Moondream:
    """Build a model with random weights of a size that keeps activations near one."""
    torch.manual_seed(seed)
    model = Moondream(MoondreamConfig.from_json(data)).eval().requires_grad_(False)
    for name, tensor in model.named_parameters():
        if "ln" not in name:
            scale = 1.0 if "features" in name else 2.0
            tensor.copy_(torch.randn_like(tensor) * scale / tensor.shape[-1] ** 0.5)
    return model


def public_state(model: Moondream, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Return the weights under the names of a published file."""
    return {f"model.{name}": tensor.to(dtype) for name, tensor in model.state_dict().items()}


def write_folder(folder: Path, data: Mapping[str, Any], state: dict[str, Tensor]) -> Path:
    """Write a model folder without a vocabulary."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(data))
    tensors = {name: tensor.contiguous().clone() for name, tensor in state.items()}
    save_file(tensors, folder / "model.safetensors")
    return folder


@cache
def reference_model() -> Moondream:
    """Return the recorded reference's model in float32."""
    return Moondream.load(FIXTURES)


@cache
def reference_tensors() -> dict[str, Tensor]:
    """Return the recorded tensors by name."""
    return load_file(FIXTURES / "expected.safetensors")


@cache
def reference_record() -> dict[str, Any]:
    """Return the recorded discrete results."""
    record: dict[str, Any] = json.loads((FIXTURES / "expected.json").read_text())
    return record


def reference_image(index: int) -> Image.Image:
    """Open one of the recorded pictures."""
    return Image.open(FIXTURES / reference_record()["images"][index]["file"])


def assert_near(actual: Tensor, expected: Tensor, bound: float = 2e-5) -> None:
    """Assert equality within a share of the largest expected value."""
    assert actual.shape == expected.shape
    error = (actual - expected).abs().max() / expected.abs().max()
    assert error <= bound, f"differs by {error:.2e} of the largest value"
