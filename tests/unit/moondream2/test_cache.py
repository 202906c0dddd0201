from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from moondream2.bags import BagCache
from moondream2.cache import (
    PrefixAttend,
    RowsAttend,
    Segment,
    SlotCache,
    prefill,
    slot_bytes,
)
from moondream2.config import MoondreamConfig, public_config
from moondream2.model import Moondream
from tests.support.checkpoints import ODD_SHAPE
from tests.support.launches import META, Launches

CPU = torch.device("cpu")
CONFIG = replace(
    MoondreamConfig.from_json(ODD_SHAPE).text, heads=6, kv_heads=2, head_dim=8, max_context=320
)


def _flat() -> SlotCache:
    return SlotCache(CONFIG, 4, device=CPU, dtype=torch.float32)


def _bags() -> SlotCache:
    return BagCache(CONFIG, 4, dtype=torch.float32)


@pytest.fixture(params=[_flat, _bags])
def cache(request: pytest.FixtureRequest) -> SlotCache:
    cache: SlotCache = request.param()
    # What earlier users of the slots left behind must not matter.
    cache.keys.fill_(torch.nan)
    cache.values.fill_(torch.nan)
    return cache


def _qkv(tokens: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    heads = (CONFIG.heads, CONFIG.kv_heads, CONFIG.kv_heads)
    q, k, v = (torch.randn(1, H, tokens, CONFIG.head_dim, generator=draw) for H in heads)
    return q, k, v


def _whole(q: Tensor, k: Tensor, v: Tensor, prefix: int) -> Tensor:
    """Attend without a cache: both ways in the prefix, backwards after it."""
    length = q.shape[2]
    mask = torch.ones(length, length, dtype=torch.bool).tril()
    mask[:prefix, :prefix] = True
    return scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)


def test_slot_of_public_model_takes_384_mib() -> None:
    assert slot_bytes(public_config().text, torch.bfloat16) == 384 << 20


# 9 positions share a block of keys, 127 end just before a block does, 300 take three.
@pytest.mark.parametrize("prefix", [0, 9, 127, 300])
def test_packed_rows_equal_attention_without_cache(cache: SlotCache, prefix: int) -> None:
    """Prefix, ragged prompts, then single tokens, in slots that are not in order."""
    lengths = {3: 5, 0: 1, 2: 8}
    rows = {slot: _qkv(prefix + count + 3, seed=slot) for slot, count in lengths.items()}
    found: dict[int, list[Tensor]] = {slot: [] for slot in lengths}
    if prefix:
        q, k, v = (torch.cat([rows[s][i][:, :, :prefix] for s in rows]) for i in range(3))
        out = PrefixAttend(cache, list(rows))(1, q, k, v)
        for index, slot in enumerate(rows):
            found[slot].append(out[index : index + 1])
    places = dict.fromkeys(rows, prefix)
    for counts in (lengths, *(dict.fromkeys(rows, 1),) * 3):
        segments = [Segment(slot, places[slot], count) for slot, count in counts.items()]
        parts = [[t[:, :, s.start : s.end] for t in rows[s.slot]] for s in segments]
        q, k, v = (torch.cat([part[i] for part in parts], dim=2) for i in range(3))
        out = RowsAttend(cache, segments)(1, q, k, v)
        for segment, own in zip(
            segments, torch.split(out, list(counts.values()), dim=2), strict=True
        ):
            found[segment.slot].append(own)
            places[segment.slot] = segment.end
    for slot, row in rows.items():
        torch.testing.assert_close(torch.cat(found[slot], dim=2), _whole(*row, prefix))


def test_rows_attend_gives_positions_of_tokens(cache: SlotCache) -> None:
    attend = RowsAttend(cache, [Segment(2, 7, 3), Segment(0, 0, 1)])
    assert attend.positions.tolist() == [7, 8, 9, 0]


def test_prompt_is_bit_equal_in_any_company(cache: SlotCache) -> None:
    q, k, v = _qkv(6)
    alone = RowsAttend(cache, [Segment(1, 0, 6)])(0, q, k, v)
    packed = _beside(_qkv(4, seed=9), (q, k, v))
    together = RowsAttend(cache, [Segment(0, 0, 4), Segment(1, 0, 6)])(0, *packed)
    assert torch.equal(together[:, :, 4:], alone)


def test_single_token_is_bit_equal_in_any_company(cache: SlotCache) -> None:
    cache.keys.normal_()
    cache.values.normal_()
    q, k, v = _qkv(1)
    alone = RowsAttend(cache, [Segment(2, 140, 1)])(0, q, k, v)
    packed = _beside(_qkv(1, seed=9), (q, k, v), _qkv(3, seed=8))
    others = Segment(3, 290, 1), Segment(0, 7, 3)
    together = RowsAttend(cache, [others[0], Segment(2, 140, 1), others[1]])(0, *packed)
    assert torch.equal(together[:, :, 1:2], alone)


def _beside(*rows: tuple[Tensor, Tensor, Tensor]) -> list[Tensor]:
    return [torch.cat(parts, dim=2) for parts in zip(*rows, strict=True)]


@pytest.mark.parametrize("length", [5, 128, 200])
def test_copy_prefix_copies_all_layers_and_leaves_other_slots(
    cache: SlotCache, length: int
) -> None:
    whole = Segment(0, 0, length)
    for layer in range(CONFIG.layers):
        _, k, v = _qkv(length, seed=layer)
        cache.write(layer, whole, k[0], v[0])
    cache.copy_prefix(0, 3, length)
    for layer in range(CONFIG.layers):
        _, k, v = _qkv(length, seed=layer)
        keys, values = cache.read(layer, Segment(3, 0, length))
        assert torch.equal(keys, k[0])
        assert torch.equal(values, v[0])
    assert cache.keys[:, 1:3].isnan().all()
    assert cache.values[:, 3, :, length:].isnan().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_single_tokens_in_short_formats_are_near_attention_in_float32(dtype: torch.dtype) -> None:
    cache = BagCache(CONFIG, 2, dtype=dtype)
    q, k, v = (part.to(dtype) for part in _qkv(300))
    for layer in range(CONFIG.layers):
        cache.write(layer, Segment(1, 0, 299), k[0, :, :299], v[0, :, :299])
    last = slice(299, 300)
    out = RowsAttend(cache, [Segment(1, 299, 1)])(0, q[:, :, last], k[:, :, last], v[:, :, last])
    exact = _whole(q.float(), k.float(), v.float(), prefix=0)[:, :, last]
    assert out.dtype == dtype
    assert (out.float() - exact).abs().max() < 0.02 * exact.abs().max()


@torch.inference_mode()
def _launches_of_prefixes(num: int) -> Launches:
    """Count what the public model launches for the prefixes of some frames in one pass."""
    with META:
        model = Moondream(public_config()).to(torch.bfloat16)
    config = model.config.text
    cache = SlotCache(config, 8, device=META, dtype=model.dtype)
    prefixes = torch.empty(
        num, config.prefix_length, config.hidden_size, device=META, dtype=model.dtype
    )
    model.text.rotary.on(META)
    launches = Launches()
    with launches:
        prefill(model.text, prefixes, cache, [1, 5, 2][:num])
    return launches


def test_prefixes_are_kept_in_two_launches_a_layer_however_many_frames() -> None:
    three, one = _launches_of_prefixes(3), _launches_of_prefixes(1)
    layers = public_config().text.layers
    assert three.calls["index_copy_"] == 2 * layers
    assert three.calls["copy_"] == 0
    assert three.count == one.count == 429  # they were 524 and 428


def test_last_block_computes_only_keys_and_values() -> None:
    calls = _launches_of_prefixes(3).calls
    layers = public_config().text.layers
    assert calls["scaled_dot_product_attention"] == calls["gelu"] == layers - 1
    assert calls["linear"] == 4 * (layers - 1) + 1
