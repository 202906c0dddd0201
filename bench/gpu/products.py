"""Matrix products and attention alone, at the shapes that the model has."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench.gpu.report import Note
from bench.gpu.setting import Setting
from bench.gpu.timing import timed
from moondream2.cache import SlotCache
from moondream2.varlen import LengthsAttend

#: Bytes that no device keeps near.
_BEYOND_CACHE = 256 << 20
#: Attention from here on is in the table.
_SHOWN_FLOPS = 1e10
_BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
}


@dataclass(frozen=True)
class Product:
    """A linear layer: rows of `width` values to `out` values."""

    name: str
    rows: int
    width: int
    out: int


@dataclass(frozen=True)
class Attention:
    """Queries and keys of one layer; `is_masked` as replayed decode steps are."""

    name: str
    batch: int
    heads: int
    queries: int
    keys: int
    head_dim: int
    is_masked: bool = False


def measure_products(setting: Setting, note: Note) -> None:
    """Tell TFLOP/s and GB/s of each, and which attention kernel would do what."""
    machine = setting.machine
    note("one large product, TFLOP/s", machine.flops / 1e12, is_shown=True)
    note("one large read, GB/s", machine.bytes_per_s / 1e9, is_shown=True)
    for product in _products(setting):
        _product(setting, product, note)
    for shape in _attentions(setting):
        _attention(setting, shape, note)
    _own_lengths(setting, note)


def _products(setting: Setting) -> list[Product]:
    v, t = setting.model.config.vision, setting.model.config.text
    crops = (3 if setting.is_quick else 32) * v.tokens
    prefix = (1 if setting.is_quick else 3) * t.prefix_length
    qkv = (t.heads + 2 * t.kv_heads) * t.head_dim
    return [
        Product("vision qkv", crops, v.hidden_size, 3 * v.hidden_size),
        Product("vision fc1", crops, v.hidden_size, v.mlp_size),
        Product("vision fc2", crops, v.mlp_size, v.hidden_size),
        Product("prefill qkv", prefix, t.hidden_size, qkv),
        Product("prefill fc1", prefix, t.hidden_size, t.mlp_size),
        Product("prefill fc2", prefix, t.mlp_size, t.hidden_size),
        *(
            Product(f"decode fc1, {rows} rows", rows, t.hidden_size, t.mlp_size)
            for rows in setting.batches
        ),
        Product("language head", setting.slots, t.hidden_size, t.vocab_size),
    ]


def _attentions(setting: Setting) -> list[Attention]:
    v, t = setting.model.config.vision, setting.model.config.text
    side, rows = v.hidden_size // v.heads, setting.slots
    context = -(-(t.prefix_length + setting.tokens) // 256) * 256
    return [
        Attention("vision, 9 crops", 9, v.heads, v.tokens, v.tokens, side),
        Attention("vision, 32 crops", 32, v.heads, v.tokens, v.tokens, side),
        Attention("prefill, 1 frame", 1, t.heads, t.prefix_length, t.prefix_length, t.head_dim),
        Attention("prefill, 3 frames", 3, t.heads, t.prefix_length, t.prefix_length, t.head_dim),
        Attention("decode", rows, t.heads, 1, context, t.head_dim, is_masked=True),
    ]


def _product(setting: Setting, product: Product, note: Note) -> None:
    size = product.out * product.width * setting.dtype.itemsize
    # As many as a model's layers are: one alone would stay in the cache of the device.
    count = -(-_BEYOND_CACHE // size) if setting.is_cuda else 1
    shape = (product.out, product.width)
    weights = [torch.randn(shape, device=setting.device).to(setting.dtype) for _ in range(count)]
    x = torch.randn(product.rows, product.width, device=setting.device).to(setting.dtype)

    def pass_through() -> None:
        for weight in weights:
            functional.linear(x, weight)

    seconds = timed(pass_through, setting.device, _repeats(setting)) / count
    values = product.rows * (product.width + product.out)
    flops = 2 * product.rows * product.width * product.out
    note(f"{product.name}: TFLOP/s", flops / seconds / 1e12)
    note(f"{product.name}: GB/s", (size + values * setting.dtype.itemsize) / seconds / 1e9)


def _attention(setting: Setting, shape: Attention, note: Note) -> None:
    """Time each kernel at a shape, and the first call, which may build a plan."""
    q = _random(setting, shape, shape.queries)
    k, v = (_random(setting, shape, shape.keys) for _ in range(2))
    mask = None
    if shape.is_masked:
        mask = torch.ones(shape.batch, 1, 1, shape.keys, dtype=torch.bool, device=setting.device)
        mask[..., -20:] = False

    def attend() -> torch.Tensor:
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)

    flops = 4 * shape.batch * shape.heads * shape.queries * shape.keys * shape.head_dim
    size = (q.numel() * 2 + k.numel() * 2) * q.element_size()
    for name, backend in _BACKENDS.items() if setting.is_cuda else ():
        with sdpa_kernel([backend]):
            _try(f"{shape.name}, {name}", attend, flops, size, setting, note)
    _try(f"{shape.name}, as torch chooses", attend, flops, size, setting, note)


def _try(
    name: str,
    attend: Callable[[], torch.Tensor],
    flops: int,
    size: int,
    setting: Setting,
    note: Note,
) -> None:
    try:
        first = _timed_once(attend, setting)
        seconds = timed(attend, setting.device, _repeats(setting))
    except RuntimeError as error:  # not for this shape or format
        note(f"{name}: none", " ".join(str(error).split())[:80])
        return
    note(
        f"{name}: TFLOP/s",
        flops / seconds / 1e12,
        is_shown=flops > _SHOWN_FLOPS and setting.is_cuda,
    )
    note(f"{name}: GB/s", size / seconds / 1e9)
    note(f"{name}: first call ms", first * 1000)


def _own_lengths(setting: Setting, note: Note) -> None:
    """Time the attention of a decode step that reads the length of each row, if there is one."""
    varlen = setting.decoding(None).varlen
    if varlen is None:
        note("decode, own lengths: none", "contexts are fixed")
        return
    config, rows = replace(setting.model.config.text, layers=1), setting.slots
    cache = SlotCache(config, rows, device=setting.device, dtype=setting.dtype)
    cache.keys.zero_()
    cache.values.zero_()
    length = config.prefix_length + setting.tokens
    used = torch.full((rows,), length, device=setting.device)
    attend = LengthsAttend(cache, used[:, None] - 1, used, varlen)
    heads = config.heads, config.kv_heads, config.kv_heads
    token = [torch.randn(rows, n, 1, config.head_dim, device=setting.device) for n in heads]
    q, k, v = (each.to(setting.dtype) for each in token)
    size = 2 * (rows * length * config.kv_heads * config.head_dim + q.numel()) * q.element_size()
    flops = 4 * rows * length * config.heads * config.head_dim
    _try("decode, own lengths", lambda: attend(0, q, k, v), flops, size, setting, note)


def _timed_once(attend: Callable[[], torch.Tensor], setting: Setting) -> float:
    """Seconds of a call at a shape that was not seen before, by the clock of the host."""
    if setting.is_cuda:
        torch.cuda.synchronize(setting.device)
    begin = time.perf_counter()
    attend()
    if setting.is_cuda:
        torch.cuda.synchronize(setting.device)
    return time.perf_counter() - begin


def _random(setting: Setting, shape: Attention, length: int) -> torch.Tensor:
    x = torch.randn(shape.batch, shape.heads, length, shape.head_dim, device=setting.device)
    return x.to(setting.dtype)


def _repeats(setting: Setting) -> int:
    return 20 if setting.is_cuda else 1
