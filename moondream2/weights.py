"""Reading checkpoints: names, layouts, number formats.

A checkpoint is checked whole before its first tensor is read, from the headers alone: names first,
then shapes. Tensors then go one by one from the mapped file to the device in the wanted dtype, so a
load needs memory for the model once, not twice.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from moondream2.errors import ModelFileError

#: Bytes read from one mapping before the file is mapped anew. Until then the pages that were read
#: count as memory of the process: with a single mapping the peak of a load was twice the model.
_MAPPED_BYTES = 2**28

#: Weights that share a scale in the 4-bit releases.
_GROUP = 128

#: Names of one fault that an error lists before it says how many more there are.
_LISTED = 5

#: Prefixes of the training-time names and their successors, most specific first.
_LEGACY_PREFIXES = (
    ("vision_encoder.encoder.model.visual.patch_embed.linear.", "vision.patch_emb."),
    ("vision_encoder.encoder.model.visual.pos_embed", "vision.pos_emb"),
    ("vision_encoder.encoder.model.visual.norm.", "vision.post_ln."),
    ("vision_encoder.encoder.model.visual.blocks.", "vision.blocks."),
    ("vision_encoder.projection.mlp.", "vision.proj_mlp."),
    ("text_model.transformer.embd.wte.weight", "text.wte"),
    ("text_model.transformer.h.", "text.blocks."),
    ("text_model.lm_head.ln.", "text.post_ln."),
    ("text_model.lm_head.linear.", "text.lm_head."),
    ("region_model.coordinate_features.weight", "region.coord_features"),
    ("region_model.size_features.weight", "region.size_features"),
    ("region_model.coordinate_encoder.", "region.coord_encoder."),
    ("region_model.coordinate_decoder.", "region.coord_decoder."),
    ("region_model.", "region."),
)
_LEGACY_INFIXES = (
    (re.compile(r"^(vision\.blocks\.\d+)\.norm([12])\."), r"\1.ln\2."),
    (re.compile(r"^(text\.blocks\.\d+)\.mixer\.Wqkv\."), r"\1.attn.qkv."),
    (re.compile(r"^(text\.blocks\.\d+)\.mixer\.out_proj\."), r"\1.attn.proj."),
)
#: Stored transposed under their training-time names.
_LEGACY_TRANSPOSED = frozenset({"region.coord_features", "region.size_features"})
#: Buffers of a model that was saved after running.
_CACHE = re.compile(r"^text\.blocks\.\d+\.kv_cache\.")


@dataclass(frozen=True, slots=True)
class _Stored:
    """One tensor of a checkpoint file, as its header states it."""

    path: Path
    key: str
    #: As the public layout has it.
    shape: tuple[int, ...]
    is_transposed: bool


class _Reader:
    """Reads tensors from mapped files, giving their pages back now and then."""

    def __init__(self) -> None:
        self._files: dict[Path, Any] = {}
        self._read_bytes = 0

    def __call__(self, tensor: _Stored) -> Tensor:
        """Return a tensor in the public layout; it can be a view of the mapped file."""
        if self._read_bytes > _MAPPED_BYTES:
            self._files.clear()
            self._read_bytes = 0
        if tensor.path not in self._files:
            self._files[tensor.path] = _open(tensor.path)
        value: Tensor = self._files[tensor.path].get_tensor(tensor.key)
        self._read_bytes += value.nbytes
        return value.T if tensor.is_transposed else value


def load_state(
    folder: Path | str,
    shapes: Mapping[str, tuple[int, ...]],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> dict[str, Tensor]:
    """Read the weights of a model folder.

    Args:
        folder: Holds `model.safetensors`, or shards and `model.safetensors.index.json`.
        shapes: Every tensor of the model by its public name without the `model.` prefix.
        device: Where the tensors go.
        dtype: What they are converted to, whatever the file holds.

    Returns:
        All tensors of `shapes`, contiguous and independent of the file.

    Raises:
        ModelFileError: A file is missing or damaged, or the tensors are not those of the model.
    """
    return dict(tensors_of(folder, shapes, device=device, dtype=dtype))


def tensors_of(
    folder: Path | str,
    shapes: Mapping[str, tuple[int, ...]],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Iterator[tuple[str, Tensor]]:
    """The same one by one, in the order of `shapes`, for who need not keep them all."""
    stored = find_tensors(folder, shapes)
    read = _Reader()
    for name, shape in shapes.items():
        yield name, _take(read, stored, name, shape, torch.device(device), dtype)


def find_tensors(
    folder: Path | str, shapes: Mapping[str, tuple[int, ...]]
) -> Mapping[str, _Stored]:
    """See from the heads of the files that all is there, and that it is of this model.

    Raises:
        ModelFileError: A file is missing or damaged, or the tensors are not those of the model.
    """
    stored: dict[str, _Stored] = {}
    for path in _checkpoint_files(Path(folder)):
        for name, tensor in _inventory(path):
            if name in stored:
                raise ModelFileError(f"{path}: holds {name} a second time")
            stored[name] = tensor
    _check_names(Path(folder), stored, shapes)
    return stored


def public_name(key: str) -> str:
    """Translate a name of any release to the public one without the `model.` prefix."""
    name = key.replace("._orig_mod", "").removeprefix("model.")
    for old, new in _LEGACY_PREFIXES:
        if name.startswith(old):
            name = new + name[len(old) :]
            break
    for pattern, replacement in _LEGACY_INFIXES:
        name = pattern.sub(replacement, name)
    return name


def dequantise(packed: Tensor, scale: Tensor, zero: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Unpack a linear weight of the 4-bit releases.

    Args:
        packed: (out * in / 256, 128) uint8; the high nibbles are the first half of the groups.
        scale: (out * in / 128, 1) of every group of 128 weights.
        zero: (out * in / 128, 1).
        shape: (out, in).

    Returns:
        (out, in) in the dtype of `scale`.
    """
    steps = torch.cat((packed >> 4, packed & 15))  # (out * in / 128, 128)
    return ((steps.to(scale.dtype) - zero) * scale).reshape(shape)


def _checkpoint_files(folder: Path) -> list[Path]:
    index, single = folder / "model.safetensors.index.json", folder / "model.safetensors"
    if single.is_file():
        return [single]
    if not index.is_file():
        raise ModelFileError(f"{folder}: has neither {single.name} nor {index.name}")
    try:
        shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError) as exc:
        raise ModelFileError(f"{index}: not an index of shards") from exc
    # Shard names come from a downloaded file: they name files of this folder and nothing else.
    return [folder / Path(str(shard)).name for shard in shards]


def _open(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt", device="cpu")
    except (OSError, SafetensorError) as exc:
        raise ModelFileError(f"{path}: not a readable safetensors file: {exc}") from exc


def _inventory(path: Path) -> Iterator[tuple[str, _Stored]]:
    """List the tensors of a file by public name."""
    file = _open(path)
    for key in file.keys():  # noqa: SIM118 - the file is no mapping
        name = public_name(key)
        if _CACHE.match(name):
            continue
        shape = tuple(file.get_slice(key).get_shape())
        is_old = "region_model." in key and name in _LEGACY_TRANSPOSED
        yield name, _Stored(path, key, shape[::-1] if is_old else shape, is_old)


def _check_names(
    folder: Path, stored: Mapping[str, _Stored], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """Raise one error that tells everything wrong with names and shapes."""
    wanted: dict[str, tuple[int, ...]] = {}
    for name, shape in shapes.items():
        is_packed = f"{name}.packed" in stored
        wanted |= _packed_shapes(name, shape) if is_packed else {name: shape}
    misshapen = [
        f"{name} is {list(stored[name].shape)}, expected {list(shape)}"
        for name, shape in wanted.items()
        if name in stored and stored[name].shape != shape
    ]
    faults = [
        f"{len(names)} {kind}: {_some(names)}"
        for kind, names in (
            ("missing", sorted(wanted.keys() - stored.keys())),
            ("surplus", sorted(stored.keys() - wanted.keys())),
            ("of another shape", misshapen),
        )
        if names
    ]
    if faults:
        raise ModelFileError(f"{folder}: tensors do not fit config.json; " + "; ".join(faults))


def _packed_shapes(name: str, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    groups = math.prod(shape) // _GROUP
    return {
        f"{name}.packed": (groups // 2, _GROUP),
        f"{name}.scale": (groups, 1),
        f"{name}.zero_point": (groups, 1),
    }


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _take(
    read: _Reader,
    stored: Mapping[str, _Stored],
    name: str,
    shape: tuple[int, ...],
    device: torch.device,
    dtype: torch.dtype,
) -> Tensor:
    """Read one tensor to its device and dtype."""
    if name in stored:
        tensor = read(stored[name]).to(device, dtype)
    else:
        packed, scale, zero = (
            read(stored[f"{name}.{part}"]).to(device) for part in ("packed", "scale", "zero_point")
        )
        tensor = dequantise(packed, scale, zero, shape).to(dtype)
    # Same device and dtype: `tensor` is still a view of the mapped file, so copy it out.
    return tensor.clone(memory_format=torch.contiguous_format)
