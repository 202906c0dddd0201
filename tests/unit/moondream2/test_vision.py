import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from moondream2.config import MoondreamConfig
from moondream2.crops import Crops, normalise, prepare
from moondream2.vision import VisionModel
from tests.support.checkpoints import (
    ODD_SHAPE,
    assert_near,
    random_model,
    reference_image,
    reference_model,
    reference_tensors,
    shape,
)


def _noise(width: int, height: int, model: VisionModel, seed: int = 0) -> Crops:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (height, width, 3), generator=generator, dtype=torch.uint8)
    return prepare(Image.fromarray(pixels.numpy()), model.config)


@pytest.mark.parametrize("index", range(6))
def test_encode_recorded_picture_equals_the_reference(index: int) -> None:
    model, expected = reference_model().vision, reference_tensors()
    crops = prepare(reference_image(index), model.config)
    features = model(normalise(crops.pixels, torch.float32, torch.bfloat16))
    assert_near(features[0, ::27], expected[f"img{index}.global_features_s27"])
    assert_near(features[-1, ::27], expected[f"img{index}.last_crop_features_s27"])
    joined = model.join(features, crops.tiling)
    assert_near(joined[::27, model.config.hidden_size :], expected[f"img{index}.pooled_s27"])
    assert_near(model.project(joined), expected[f"img{index}.image_embeds"])


def test_encode_recorded_pictures_together_equals_the_reference() -> None:
    model, expected = reference_model().vision, reference_tensors()
    embeddings = model.encode([prepare(reference_image(i), model.config) for i in (0, 5)])
    assert_near(embeddings[0], expected["img0.image_embeds"])
    assert_near(embeddings[1], expected["img5.image_embeds"])


def test_encode_with_exact_pixel_arithmetic_is_another_model() -> None:
    model, expected = reference_model().vision, reference_tensors()
    crops = prepare(reference_image(0), model.config)
    exact = VisionModel(model.config, torch.float32)
    exact.load_state_dict(model.state_dict())
    assert_near(exact.encode([crops])[0, ::27], expected["img0.image_embeds_f32norm_s27"])


def test_first_block_of_recorded_picture_equals_the_reference() -> None:
    model, expected = reference_model().vision, reference_tensors()
    crops = prepare(reference_image(0), model.config)
    pixels = normalise(crops.pixels[:1], torch.float32, torch.bfloat16)
    embedded = model.patch_emb(model.patches(pixels)) + model.pos_emb
    assert_near(model.patches(pixels)[0, 28], expected["debug.patches_crop0_row28"])
    assert_near(embedded[0, ::27], expected["debug.embed_crop0_s27"])
    assert_near(model.blocks[0](embedded)[0, ::27], expected["debug.after_block0_crop0_s27"])


def test_encode_several_frames_equals_each_alone() -> None:
    model = random_model().vision
    frames = [
        _noise(width, height, model, seed)
        for seed, (width, height) in enumerate([(100, 90), (300, 200), (150, 400), (640, 480)])
    ]
    assert len({frame.tiling for frame in frames}) > 2
    together = model.encode(frames)
    alone = torch.cat([model.encode([frame]) for frame in frames])
    assert_near(together, alone, bound=2e-6)


@pytest.mark.parametrize("chunk", [1, 2, 5, None])
def test_encode_in_passes_of_any_size_is_equal(chunk: int | None) -> None:
    model = random_model().vision
    frames = [_noise(300, 200, model), _noise(200, 300, model, seed=1)]
    assert_near(model.encode(frames, chunk=chunk), model.encode(frames, chunk=100), bound=2e-6)


@pytest.mark.parametrize(("mlp_size", "crops"), [(4000, 32), (140_000, 1)])
def test_crops_per_pass_of_the_default_keeps_the_pass_bounded(mlp_size: int, crops: int) -> None:
    data = shape(vision={"mlp_size": mlp_size, "layers": 1})
    assert VisionModel(MoondreamConfig.from_json(data).vision).crops_per_pass() == crops


def test_encode_single_crop_equals_the_crop_given_twice() -> None:
    model = random_model().vision
    crops = _noise(90, 90, model)
    twice = Crops(crops.pixels.repeat(2, 1, 1, 1), (1, 1), crops.size)
    assert_near(model.encode([crops]), model.encode([twice]), bound=1e-6)


def _naive(model: VisionModel, pixels: Tensor) -> Tensor:
    """The encoder of one crop, patch by patch and head by head."""
    config, side = model.config, model.config.patch_size
    weights = dict(model.named_parameters())

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(x: Tensor, name: str) -> Tensor:
        spread = x.var(-1, keepdim=True, correction=0) + config.layer_norm_eps
        scaled = (x - x.mean(-1, keepdim=True)) / spread.sqrt()
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    patches = [
        pixels[:, y * side : (y + 1) * side, x * side : (x + 1) * side].reshape(-1)
        for y in range(config.grid_size)
        for x in range(config.grid_size)
    ]
    x = linear(torch.stack(patches), "patch_emb") + model.pos_emb[0]
    dim = config.hidden_size // config.heads
    for index in range(config.layers):
        name = f"blocks.{index}"
        mixed = linear(norm(x, f"{name}.ln1"), f"{name}.attn.qkv")
        qkv = torch.split(mixed, config.hidden_size, dim=-1)
        heads = []
        for head in range(config.heads):
            q, k, v = (part[:, head * dim : (head + 1) * dim] for part in qkv)
            heads.append((q @ k.T / dim**0.5).softmax(-1) @ v)
        x = x + linear(torch.cat(heads, -1), f"{name}.attn.proj")
        inner = linear(norm(x, f"{name}.ln2"), f"{name}.mlp.fc1")
        gelu = 0.5 * inner * (1 + torch.tanh(0.7978845608 * (inner + 0.044715 * inner**3)))
        x = x + linear(gelu, f"{name}.mlp.fc2")
    return norm(x, "post_ln")


def test_forward_with_other_shape_equals_a_naive_encoder() -> None:
    model = random_model().vision
    pixels = normalise(_noise(300, 200, model).pixels, torch.float32, torch.bfloat16)
    expected = torch.stack([_naive(model, crop) for crop in pixels])
    assert_near(model(pixels), expected)


@pytest.mark.parametrize("tiling", [(1, 1), (1, 2), (2, 3), (6, 1)])
def test_pool_with_other_grid_equals_pooling_the_pasted_crops(tiling: tuple[int, int]) -> None:
    config = MoondreamConfig.from_json(ODD_SHAPE).vision
    rows, columns = tiling
    grid, margin, step = 8, 1, 6
    features = torch.randn(rows * columns, grid, grid, 5)
    pasted = torch.full((rows * step + 2 * margin, columns * step + 2 * margin, 5), float("nan"))
    for index, crop in enumerate(features):
        i, j = divmod(index, columns)
        top, left = (0 if i == 0 else margin), (0 if j == 0 else margin)
        bottom = grid if i == rows - 1 else grid - margin
        right = grid if j == columns - 1 else grid - margin
        pasted[step * i + top : step * i + bottom, step * j + left : step * j + right] = crop[
            top:bottom, left:right
        ]
    expected = adaptive_avg_pool2d(pasted.permute(2, 0, 1), grid).permute(1, 2, 0)
    actual = VisionModel(config).pool(features.flatten(1, 2), tiling)
    assert_near(actual, expected.flatten(0, 1), bound=1e-6)


def test_encode_under_autocast_trains_every_weight() -> None:
    model = random_model().vision.requires_grad_(True)
    frames = [_noise(300, 200, model), _noise(80, 80, model)]
    with torch.inference_mode():
        model.encode(frames)  # what it caches must serve training too
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model.encode(frames).square().mean()
    torch.autograd.backward(loss)
    assert all(weight.grad is not None for weight in model.parameters())
