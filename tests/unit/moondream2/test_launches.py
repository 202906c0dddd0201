"""Launches and bytes of the passes of the public model, counted without a device."""

import torch

from moondream2.cache import SlotCache, prefill
from moondream2.config import public_config
from moondream2.fused import fuse_layers
from moondream2.model import Moondream
from tests.support.launches import Counted, counting

META = torch.device("meta")
#: Of 720p, which has nine crops.
FRAMES = 3


def _public_model() -> Moondream:
    with META:
        return Moondream(public_config()).to(torch.bfloat16).eval()


@torch.inference_mode()
def _prefill(num: int) -> Counted:
    """Count the prefixes of some frames in one pass."""
    model = _public_model()
    config = model.config.text
    cache = SlotCache(config, 8, device=META, dtype=model.dtype)
    shape = (num, config.prefix_length, config.hidden_size)
    prefixes = torch.empty(shape, device=META, dtype=model.dtype)
    with counting() as counted:
        prefill(model.text, prefixes, cache, [1, 5, 2][:num])
    return counted


def test_prefixes_are_kept_in_two_launches_a_layer_however_many_frames() -> None:
    found = _prefill(FRAMES)
    layers = public_config().text.layers
    assert found.kernels["index_copy_"] == 2 * layers
    assert found.kernels["copy_"] == 0
    assert found.launches == _prefill(1).launches == 551
    assert found.bytes == 16_277_853_968


def test_last_block_computes_only_keys_and_values() -> None:
    found = _prefill(FRAMES).kernels
    layers = public_config().text.layers
    assert found["scaled_dot_product_attention"] == found["gelu"] == layers - 1
    assert found["linear"] == 4 * (layers - 1) + 1


@torch.inference_mode()
def _encode(model: Moondream, num_crops: int) -> Counted:
    side = model.config.vision.crop_size
    crops = torch.empty(num_crops, 3, side, side, device=META, dtype=model.dtype)
    with counting() as counted:
        model.vision(crops)
    return counted


def test_fused_layers_launch_no_gelu_and_neither_write_nor_read_its_input() -> None:
    plain, fused = _public_model(), _public_model()
    fuse_layers(fused)
    before, after = _encode(plain, 9 * FRAMES), _encode(fused, 9 * FRAMES)
    assert (before.launches, before.bytes) == (301, 48_807_302_328)
    assert (after.launches, after.bytes) == (275, 39_704_632_632)
    assert after.kernels["gelu"] == 0
    assert after.kernels["_addmm_activation"] == plain.config.vision.layers
