import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from moondream2.config import public_config
from moondream2.model import Moondream
from moondream2.rope import RotaryTable, rotate
from moondream2.text import TextModel, attend_with, attention
from tests.support.checkpoints import (
    assert_near,
    random_model,
    reference_model,
    reference_record,
    reference_tensors,
    shape,
)
from tests.support.generation import odd_model


def _prefix(index: int) -> tuple[Tensor, Tensor]:
    """Recorded image embeddings with BOS in front, and their positions."""
    embeddings = reference_tensors()[f"img{index}.image_embeds"]
    x = reference_model().prefix_embeddings(embeddings[None])
    return x, torch.arange(x.shape[1])[None]


def prefix_mask(length: int, prefix: int) -> Tensor:
    """Causal, but positions below `prefix` see each other."""
    mask = torch.ones(length, length, dtype=torch.bool).tril()
    mask[:prefix, :prefix] = True
    return mask


def run(model: Moondream, ids: list[int], image_embeddings: Tensor | None) -> Tensor:
    """Hidden states of a whole prompt, without any cache."""
    x = model.text.embed(torch.tensor([ids], device=model.device))
    prefix = 0
    if image_embeddings is not None:
        start = model.prefix_embeddings(image_embeddings[None])
        prefix = start.shape[1]
        x = torch.cat((start, x), dim=1)
    positions = torch.arange(x.shape[1], device=x.device)[None]
    mask = prefix_mask(x.shape[1], prefix).to(x.device)
    hidden: Tensor = model.text(x, positions, attend_with(mask))
    return hidden


@pytest.mark.parametrize("index", range(6))
def test_forward_of_recorded_prefix_equals_the_reference(index: int) -> None:
    x, positions = _prefix(index)
    hidden = reference_model().text(x, positions, attend_with(None))
    assert_near(hidden[0, ::73], reference_tensors()[f"img{index}.prefix_hidden_s73"])


def test_first_block_of_recorded_prefix_equals_the_reference() -> None:
    model, expected = reference_model().text, reference_tensors()
    x, positions = _prefix(0)
    block: Any = model.blocks[0]
    normed = block.ln(x)
    cos, sin = model.rotary.at(positions)
    assert_near(normed[0, ::73], expected["debug.text_ln0_s73"])
    attended = block.attn(normed, cos, sin, 0, attend_with(None))
    assert_near(attended[0, ::73], expected["debug.text_attn0_s73"])
    assert_near(block.mlp(normed)[0, ::73], expected["debug.text_mlp0_s73"])
    whole = block(x, cos, sin, 0, attend_with(None))
    assert_near(whole[0, ::73], expected["debug.text_block0_s73"])


@pytest.mark.parametrize("skill", ["short", "normal", "long", "query", "detect", "point"])
@pytest.mark.parametrize("index", range(6))
def test_logits_of_recorded_prompt_equal_the_reference(index: int, skill: str) -> None:
    record = reference_record()["images"][index]
    is_caption = skill in record["caption"]
    ids = (record["caption"] if is_caption else record)[skill]["prompt_ids"]
    name = f"img{index}.{'caption_' if is_caption else ''}{skill}.logits"
    embeddings = reference_tensors()[f"img{index}.image_embeds"]
    hidden = run(reference_model(), ids, embeddings)
    assert_near(reference_model().text.logits(hidden[0, -1]), reference_tensors()[name])


@pytest.mark.parametrize("index", [0, 3])
def test_logits_of_recorded_steps_equal_the_reference(index: int) -> None:
    caption = reference_record()["images"][index]["caption"]["normal"]
    expected = reference_tensors()[f"img{index}.caption_normal.step_logits"]
    ids = caption["prompt_ids"] + caption["token_ids"]
    hidden = run(reference_model(), ids, reference_tensors()[f"img{index}.image_embeds"])
    first = 730 + len(caption["prompt_ids"]) - 1
    actual = reference_model().text.logits(hidden[0, first : first + len(expected)])
    assert_near(actual, expected[: len(actual)])
    assert len(actual) == len(expected)


@pytest.mark.parametrize("index", [0, 1])
def test_logits_of_recorded_text_only_prompt_equal_the_reference(index: int) -> None:
    record = reference_record()["text_only_query"][index]
    hidden = run(reference_model(), record["prompt_ids"], None)
    actual = reference_model().text.logits(hidden[0, -1])
    assert_near(actual, reference_tensors()[f"textonly{index}.logits"])


def test_rotate_turns_each_pair_by_its_angle() -> None:
    table = RotaryTable(context=50, rotary_dim=6, theta=100.0)
    x = torch.randn(1, 2, 3, 10)
    positions = torch.tensor([[0, 7, 49]])
    actual = rotate(x, *table.at(positions))
    for t, position in enumerate(positions[0].tolist()):
        for pair in range(3):
            turn = torch.polar(torch.tensor(1.0), torch.tensor(position * 100 ** (-2 * pair / 6)))
            turned = torch.complex(x[0, :, t, pair], x[0, :, t, pair + 3]) * turn
            assert torch.allclose(actual[0, :, t, pair], turned.real, atol=1e-5)
            assert torch.allclose(actual[0, :, t, pair + 3], turned.imag, atol=1e-5)
    assert torch.equal(actual[..., 6:], x[..., 6:])


def test_rotary_table_of_a_cast_model_stays_float32() -> None:
    model = random_model().to(torch.bfloat16).text
    cos, sin = model.rotary.on(torch.device("cpu"))
    assert cos.dtype == sin.dtype == torch.float32
    hidden = model(model.embed(torch.tensor([[1, 2]])), torch.tensor([[0, 1]]), attend_with(None))
    assert hidden.dtype == torch.bfloat16


def _naive(model: TextModel, ids: list[int]) -> Tensor:
    """A causal pass over ids, head by head."""
    config, weights = model.config, dict(model.named_parameters())
    dim, group = config.head_dim, config.heads // config.kv_heads

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(x: Tensor, name: str) -> Tensor:
        spread = x.var(-1, keepdim=True, correction=0) + config.layer_norm_eps
        scaled = (x - x.mean(-1, keepdim=True)) / spread.sqrt()
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def turned(x: Tensor) -> Tensor:
        out = x.clone()
        half = config.rotary_dim // 2
        for t in range(len(x)):
            for j in range(half):
                angle = t * config.rope_theta ** (-2 * j / config.rotary_dim)
                a, b = x[t, j], x[t, j + half]
                out[t, j] = a * math.cos(angle) - b * math.sin(angle)
                out[t, j + half] = a * math.sin(angle) + b * math.cos(angle)
        return out

    x = weights["wte"][ids]
    hidden = torch.full((len(ids), len(ids)), -torch.inf).triu(1)
    for index in range(config.layers):
        name = f"blocks.{index}"
        h = norm(x, f"{name}.ln")
        parts = torch.split(linear(h, f"{name}.attn.qkv"), dim, dim=-1)
        out = []
        for head in range(config.heads):
            q = turned(parts[head])
            k = turned(parts[config.heads + head // group])
            v = parts[config.heads + config.kv_heads + head // group]
            out.append((q @ k.T / dim**0.5 + hidden).softmax(-1) @ v)
        attended = linear(torch.cat(out, -1), f"{name}.attn.proj")
        inner = linear(h, f"{name}.mlp.fc1")
        gelu = 0.5 * inner * (1 + torch.tanh(0.7978845608 * (inner + 0.044715 * inner**3)))
        x = x + attended + linear(gelu, f"{name}.mlp.fc2")
    return x


@pytest.mark.parametrize("kv_heads", [1, 2, 3, 6])
def test_forward_with_other_shape_and_grouped_queries_equals_a_naive_model(kv_heads: int) -> None:
    model = random_model(shape(text={"kv_heads": kv_heads}))
    ids = [5, 80, 3, 3, 41, 17, 2, 66, 12]
    assert_near(run(model, ids, None)[0], _naive(model.text, ids))


def test_forward_of_a_batch_equals_each_row_alone() -> None:
    model = random_model().text
    ids = torch.randint(0, 90, (4, 12), generator=torch.Generator().manual_seed(1))
    positions = torch.arange(12).expand(4, 12) + torch.tensor([[0], [5], [40], [100]])
    attend = attend_with(prefix_mask(12, 0))
    together = model(model.embed(ids), positions, attend)
    for row in range(4):
        alone = model(model.embed(ids[row : row + 1]), positions[row : row + 1], attend)
        assert_near(together[row], alone[0], bound=2e-6)


def test_forward_and_logits_under_autocast_train_every_weight() -> None:
    model = random_model().requires_grad_(True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = run(model, [1, 2, 3, 4], None)
        loss = model.text.logits(hidden).square().mean()
    torch.autograd.backward(loss)
    assert all(weight.grad is not None for weight in model.text.parameters())


class Keeps:
    """Attention of a prefix that remembers keys and values of every layer."""

    def __init__(self) -> None:
        self.kept: dict[int, tuple[Tensor, Tensor]] = {}

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        self.end(layer, q, k, v)
        return attention(q, k, v)

    def end(self, layer: int, _q: Tensor, k: Tensor, v: Tensor) -> Tensor | None:
        self.kept[layer] = k, v
        return None


@torch.inference_mode()
def test_prefill_keeps_what_a_whole_pass_keeps_bit_for_bit() -> None:
    text = odd_model().text
    embeddings = torch.randn(2, 9, text.config.hidden_size)
    positions = torch.arange(9).expand(2, 9)
    whole, short = Keeps(), Keeps()
    text(embeddings, positions, whole)
    text.prefill(embeddings, positions, short)
    assert short.kept.keys() == whole.kept.keys() == set(range(text.config.layers))
    for layer, pair in whole.kept.items():
        assert all(map(torch.equal, pair, short.kept[layer]))


@torch.inference_mode()
def test_prefill_leaves_out_what_only_a_next_block_would_need() -> None:
    """Of the public model, on a device that has shapes and no numbers: 97 of 100 products."""
    config = public_config().text
    with torch.device("meta"):
        text = TextModel(config)
        embeddings = torch.empty(1, config.prefix_length, config.hidden_size)
        positions = torch.arange(config.prefix_length)[None]
    counts = []
    for run in (text, text.prefill):
        with FlopCounterMode(display=False) as counter:
            run(embeddings, positions, Keeps())
        counts.append(counter.get_total_flops())
    length, width = config.prefix_length, config.hidden_size
    attention_flops = 4 * length**2 * width
    linear = width**2 + 2 * width * config.mlp_size
    assert counts[0] - counts[1] == 2 * length * linear + attention_flops
    assert counts[1] / counts[0] == pytest.approx(0.968, abs=0.001)
