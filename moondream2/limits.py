"""How much an engine takes on at once when nobody says: rows, and frames encoded in one step.

Both follow from the memory that is free once the weights are loaded. What encoding needs is left
over first, worked out from the model's dimensions; the pool of slots takes most of the rest. None
of the estimates has to be exact: what does not fit after all is halved, see `Engine`.
"""

from dataclasses import dataclass

import torch

from moondream2.cache import slot_bytes
from moondream2.config import MoondreamConfig
from moondream2.memory import available_bytes

#: What a frame costs on top of its crops, in crops: its prefix through the language model takes 1.9
#: TFLOP of the public model, a crop 0.67.
PREFIX_CROPS = 3
#: Cost of the frames encoded whole in one step, in crops. A GPU needs several to be busy: three
#: frames of 720p, of nine crops each. Others are busy with one.
_CROPS = {"cuda": (36, 24, 12), "cpu": (8,), "mps": (8,)}
#: Most slots. On CUDA, where every step encodes three frames and reads a token for each row,
#: captions of 40 tokens have 120 rows under way. On a CPU the linear layers stop being free to
#: share at about 16 rows.
_MOST_SLOTS = {"cuda": 128, "cpu": 16, "mps": 16}
#: More of the free memory than this is not spent on encoding more frames together.
_ENCODING_SHARE = 1 / 8
#: Share that the pool takes of what encoding leaves: the rest is lost between blocks of memory.
_POOL_SHARE = 0.9
#: Share of all free memory that it takes at most where other programs live in the same one.
_SHARED_POOL_SHARE = 0.4
#: Recorded steps, workspaces of the libraries (32 MiB for each stream), logits of all rows.
_FIXED_BYTES = 2**29
#: Activations that are held at once in a block, in widths of the model; those of the MLP (before
#: and after GELU) and of attention (together, and one by one) come on top.
_WIDTHS = 4


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """What is free on a device."""

    #: As in `torch.device`: `cuda`, `cpu`, `mps`.
    kind: str
    free: int  #: bytes
    #: Of the device alone. A Jetson is a CUDA device that shares the memory of its machine.
    is_own: bool

    @classmethod
    def of(cls, device: torch.device) -> "DeviceMemory":
        """Measure it now."""
        if device.type == "cuda" and not torch.cuda.get_device_properties(device).is_integrated:
            free, _ = torch.cuda.mem_get_info(device)
            return cls(device.type, free, is_own=True)
        return cls(device.type, available_bytes(), is_own=False)


@dataclass(frozen=True, slots=True)
class Limits:
    """What an engine takes on at once."""

    slots: int  #: rows
    max_crops: int  #: cost of frames encoded in one step, in crops


def automatic_limits(config: MoondreamConfig, memory: DeviceMemory, dtype: torch.dtype) -> Limits:
    """Return the limits that suit a device, at least one slot.

    Args:
        config: Dimensions of the model.
        memory: What its weights leave.
        dtype: Of activations, keys and values.
    """
    choices = _CROPS[memory.kind]
    affordable = memory.free * _ENCODING_SHARE
    fitting = (most for most in choices if encoding_bytes(config, most, dtype) <= affordable)
    max_crops = next(fitting, choices[-1])
    pool = pool_bytes(memory, encoding_bytes(config, max_crops, dtype))
    slots = pool // slot_bytes(config.text, dtype)
    return Limits(max(1, min(_MOST_SLOTS[memory.kind], slots)), max_crops)


def pool_bytes(memory: DeviceMemory, encoding: int) -> int:
    """Return how many bytes the pool of slots takes, beside `encoding` bytes for frames."""
    if memory.kind != "cuda":
        return int(memory.free * _SHARED_POOL_SHARE)
    rest = max(0, int((memory.free - encoding - _FIXED_BYTES) * _POOL_SHARE))
    return rest if memory.is_own else min(rest, int(memory.free * _SHARED_POOL_SHARE))


def encoding_bytes(config: MoondreamConfig, max_crops: int, dtype: torch.dtype) -> int:
    """Return the most bytes that encoding in one step holds, for frames of any size.

    Args:
        config: Dimensions of the model.
        max_crops: What the frames cost together; one that costs more is alone.
        dtype: Of activations, keys and values.
    """
    vision, text = config.vision, config.text
    per_patch = 2 * (vision.mlp_size + 3 * vision.hidden_size) + _WIDTHS * vision.hidden_size
    crop = vision.tokens * per_patch
    heads = (text.heads + 2 * text.kv_heads) * text.head_dim
    per_position = 2 * (text.mlp_size + heads) + _WIDTHS * text.hidden_size
    # Keys and values on their way to a slot.
    per_position += 2 * text.layers * text.kv_heads * text.head_dim
    prefix = text.prefix_length * per_position
    each = [
        max(1, max_crops // (num + PREFIX_CROPS)) * (num * crop + prefix)
        for num in range(1, vision.max_crops + 2)
    ]
    return max(each) * dtype.itemsize
