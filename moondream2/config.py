"""Hyper-parameters of a model, and the rules that changed between its releases.

A model folder of our own format states every dimension in `config.json`, by the field names below.
The public checkpoint's `config.json` states none: its dimensions are the constants of this file.
Nothing here is ever guessed: an absent, unknown or contradictory key is an error that names it.
"""

import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from moondream2.errors import ModelFileError

DEFAULT_REVISION = "2025-06-21"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TextConfig:
    """Dimensions of the language model."""

    hidden_size: int
    mlp_size: int
    layers: int
    heads: int
    #: Key/value heads; fewer than `heads` means grouped queries.
    kv_heads: int
    head_dim: int
    #: Leading dimensions of each head that are rotated by position.
    rotary_dim: int
    vocab_size: int
    #: Most positions of one sequence: prefix, prompt and answer together.
    max_context: int
    #: Positions that attend to each other in both directions: BOS and the image.
    prefix_length: int
    rope_theta: float = 10000.0
    layer_norm_eps: float = 1e-5


@dataclass(frozen=True, slots=True)
class VisionConfig:
    """Dimensions of the image encoder and its projector."""

    hidden_size: int
    mlp_size: int
    layers: int
    heads: int
    #: Side of a patch in pixels.
    patch_size: int
    #: Side of a crop in pixels.
    crop_size: int
    #: Side of a crop in patches.
    grid_size: int
    #: Most local crops of one image; the global crop comes on top.
    max_crops: int
    #: Patches that neighbouring crops discard on each side where they overlap.
    overlap_margin: int
    projector_hidden_size: int
    projector_out_size: int
    channels: int = 3
    layer_norm_eps: float = 1e-5

    @property
    def tokens(self) -> int:
        """Image embeddings of one frame, and patches of one crop."""
        return self.grid_size**2

    @property
    def patch_values(self) -> int:
        """Values of one patch: channels x side x side."""
        return self.channels * self.patch_size**2


@dataclass(frozen=True, slots=True)
class RegionConfig:
    """Dimensions of the coordinate and size heads."""

    hidden_size: int
    inner_size: int
    coord_features: int
    coord_bins: int
    size_features: int
    size_bins: int
    #: How a bin becomes a size: `log` (two to the power of -10..0) or `linear` (bin / bins).
    size_mapping: str = "log"


@dataclass(frozen=True, slots=True)
class TokenIds:
    """Ids with a meaning of their own; None where the release does not have one."""

    bos: int
    eos: int
    answer: int | None = None
    thinking: int | None = None
    coord: int | None = None
    size: int | None = None
    start_ground_points: int | None = None
    end_ground: int | None = None


@dataclass(frozen=True, slots=True)
class Wrapping:
    """Token ids around a user's text."""

    prefix: tuple[int, ...]
    suffix: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Templates:
    """Prompts of every skill as token ids."""

    #: Whole prompts by length: `short`, `normal`, `long`, as far as the release has them.
    caption: Mapping[str, tuple[int, ...]]
    query: Wrapping
    detect: Wrapping
    point: Wrapping
    #: The question is encoded with a space in front.
    query_leading_space: bool = False
    #: The object of detect and point is encoded with a space in front.
    object_leading_space: bool = True
    #: How many times the query suffix follows a question that is answered without reasoning.
    query_suffix_repeats: int = 2


@dataclass(frozen=True, slots=True)
class Release:
    """What differs between releases outside of the network; defaults are those of 2025-06-21."""

    #: Arithmetic of the pixel normalisation, whatever dtype the network runs in.
    pixel_dtype: str = "bfloat16"
    temperature: float = 0.5
    top_p: float = 0.3
    max_tokens: int = 768
    #: The answer id (and, while reasoning, eos and size) is never sampled on decode steps.
    suppression: bool = True
    #: Text streams word by word; otherwise every token is decoded alone.
    word_streaming: bool = True


@dataclass(frozen=True, slots=True)
class TokenizerSource:
    """Where the vocabulary of a public release is published."""

    repo: str
    #: Commit or tag.
    revision: str
    #: Ids of the right file, where files of the same name are known to be wrong.
    entries: int | None = None


@dataclass(frozen=True, slots=True)
class MoondreamConfig:
    """Everything about a model but its weights and vocabulary."""

    text: TextConfig
    vision: VisionConfig
    region: RegionConfig
    tokens: TokenIds
    prompts: Templates
    release: Release = Release()
    #: Name for people; not used by the model.
    name: str = "moondream"
    #: Set for public checkpoints only; own models keep their vocabulary in the folder.
    tokenizer: TokenizerSource | None = None

    @classmethod
    def from_json(
        cls, data: Mapping[str, Any], *, revision: str = DEFAULT_REVISION
    ) -> "MoondreamConfig":
        """Read the content of a `config.json`.

        Args:
            data: The decoded document.
            revision: Release to assume when the document states no dimensions.

        Raises:
            ModelFileError: A key is missing, unknown, of the wrong type or contradicts another.
        """
        if not isinstance(data, Mapping):
            raise ModelFileError("config.json: must hold an object")
        if "text" not in data and "vision" not in data:
            return public_config(revision)
        known = {field.name for field in fields(cls)} - {"tokenizer"}
        own = {key: value for key, value in data.items() if key in known}
        config = _read(cls, own, "")
        _check(config)
        return config

    @classmethod
    def from_folder(
        cls, folder: Path | str, *, revision: str = DEFAULT_REVISION
    ) -> "MoondreamConfig":
        """Read `config.json` of a model folder; arguments and errors as `from_json`."""
        path = Path(folder) / "config.json"
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except OSError as exc:
            raise ModelFileError(f"{path}: {exc.strerror or exc}") from exc
        except ValueError as exc:
            raise ModelFileError(f"{path}: not JSON: {exc}") from exc
        return cls.from_json(data, revision=revision)


def public_config(revision: str = DEFAULT_REVISION) -> MoondreamConfig:
    """Return the configuration of a public release of `vikhyatk/moondream2`.

    Raises:
        ModelFileError: The release is not one of `PUBLIC_REVISIONS`.
    """
    try:
        return _PUBLIC[revision]
    except KeyError:
        known = ", ".join(PUBLIC_REVISIONS)
        raise ModelFileError(f"unknown release {revision!r}; supported are {known}") from None


def _read(kind: type[T], data: object, path: str) -> T:
    """Build a dataclass from decoded JSON, naming the first key that does not fit."""
    if not isinstance(data, Mapping):
        raise ModelFileError(f"config.json: {path.rstrip('.')} must be an object")
    hints = get_type_hints(kind)
    for key in data:
        if key not in hints:
            raise ModelFileError(f"config.json: unknown key {path}{key}")
    values = {key: _value(hints[key], value, path + key) for key, value in data.items()}
    missing = sorted(_required(kind) - values.keys())
    if missing:
        raise ModelFileError(f"config.json: missing key {path}{missing[0]}")
    return kind(**values)


def _required(kind: type[Any]) -> set[str]:
    return {field.name for field in fields(kind) if field.default is MISSING}


def _value(hint: Any, value: object, path: str) -> Any:
    """Convert one decoded value to the type of its field."""
    if is_dataclass(hint) and isinstance(hint, type):
        return _read(hint, value, path + ".")
    if get_origin(hint) is UnionType:
        return None if value is None else _value(get_args(hint)[0], value, path)
    if get_origin(hint) is tuple:
        return _ids(value, path)
    if get_origin(hint) is Mapping:
        if not isinstance(value, Mapping):
            raise ModelFileError(f"config.json: {path} must be an object")
        return {str(key): _ids(ids, f"{path}.{key}") for key, ids in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    # JSON's true is an int to Python, never a dimension to us.
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ModelFileError(f"config.json: {path} must be {hint.__name__}, is {value!r}")
    return value


def _ids(value: object, path: str) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(type(item) is int and item >= 0 for item in value):
        raise ModelFileError(f"config.json: {path} must be a list of token ids")
    return tuple(value)


def _check(config: MoondreamConfig) -> None:
    """Raise for the first dimension that contradicts another."""
    text, vision, region = config.text, config.vision, config.region
    for section, value in (("text", text), ("vision", vision), ("region", region)):
        for field in fields(value):
            size = getattr(value, field.name)
            if field.name != "overlap_margin" and not isinstance(size, str) and size <= 0:
                raise ModelFileError(f"config.json: {section}.{field.name} must be positive")
    rules = (
        ("text.kv_heads", text.heads % text.kv_heads == 0, "must divide text.heads"),
        ("text.rotary_dim", text.rotary_dim % 2 == 0, "must be even"),
        ("text.rotary_dim", text.rotary_dim <= text.head_dim, "must not exceed text.head_dim"),
        ("text.prefix_length", text.prefix_length == 1 + vision.tokens, "must be 1 + grid_size²"),
        ("text.max_context", text.max_context > text.prefix_length, "must exceed prefix_length"),
        ("vision.heads", vision.hidden_size % vision.heads == 0, "must divide hidden_size"),
        (
            "vision.crop_size",
            vision.crop_size == vision.grid_size * vision.patch_size,
            "must be grid_size * patch_size",
        ),
        (
            "vision.overlap_margin",
            0 <= 2 * vision.overlap_margin < vision.grid_size,
            "must be less than half of grid_size",
        ),
        ("vision.channels", vision.channels == 3, "must be 3"),
        (
            "vision.projector_out_size",
            vision.projector_out_size == text.hidden_size,
            "must equal text.hidden_size",
        ),
        ("region.hidden_size", region.hidden_size == text.hidden_size, "must equal text's"),
        ("region.coord_features", region.coord_features % 2 == 0, "must be even"),
        ("region.size_features", region.size_features % 2 == 0, "must be even"),
        ("region.size_bins", region.size_bins > 1, "must be at least 2"),
        ("region.size_mapping", region.size_mapping in ("log", "linear"), "must be log or linear"),
        (
            "release.pixel_dtype",
            config.release.pixel_dtype in ("bfloat16", "float16", "float32"),
            "must be bfloat16, float16 or float32",
        ),
        ("tokens.bos", 0 <= config.tokens.bos < text.vocab_size, "must be below vocab_size"),
        ("tokens.eos", 0 <= config.tokens.eos < text.vocab_size, "must be below vocab_size"),
    )
    for key, is_met, rule in rules:
        if not is_met:
            raise ModelFileError(f"config.json: {key} {rule}")


_GENERATION_B = MoondreamConfig(
    name="moondream2",
    text=TextConfig(
        hidden_size=2048,
        mlp_size=8192,
        layers=24,
        heads=32,
        kv_heads=32,
        head_dim=64,
        rotary_dim=32,
        vocab_size=51200,
        max_context=2048,
        prefix_length=730,
    ),
    vision=VisionConfig(
        hidden_size=1152,
        mlp_size=4304,
        layers=27,
        heads=16,
        patch_size=14,
        crop_size=378,
        grid_size=27,
        max_crops=12,
        overlap_margin=4,
        projector_hidden_size=8192,
        projector_out_size=2048,
    ),
    region=RegionConfig(
        hidden_size=2048,
        inner_size=8192,
        coord_features=256,
        coord_bins=1024,
        size_features=512,
        size_bins=1024,
    ),
    tokens=TokenIds(
        bos=0,
        eos=0,
        answer=3,
        thinking=4,
        coord=5,
        size=6,
        start_ground_points=7,
        end_ground=9,
    ),
    prompts=Templates(
        caption={
            "short": (1, 32708, 2, 12492, 3),
            "normal": (1, 32708, 2, 6382, 3),
            "long": (1, 32708, 2, 4059, 3),
        },
        query=Wrapping(prefix=(1, 15381, 2), suffix=(3,)),
        detect=Wrapping(prefix=(1, 7235, 476, 2), suffix=(3,)),
        point=Wrapping(prefix=(1, 2581, 2), suffix=(3,)),
    ),
    # The tokenizer.json beside the weights of this release is an older one; this is the right one.
    tokenizer=TokenizerSource(
        "moondream/starmie-v1", "35192e10a54e36eabe0a7cc57a2c1aab371cafc5", entries=51200
    ),
)

_APRIL = replace(
    _GENERATION_B,
    tokens=TokenIds(bos=50256, eos=50256),
    prompts=Templates(
        caption={
            "short": (198, 198, 16438, 8305, 25),
            "normal": (198, 198, 24334, 1159, 25),
            "long": (198, 198, 14617, 8305, 25),
        },
        query=Wrapping(prefix=(198, 198, 24361, 25), suffix=(198, 198, 33706, 25)),
        detect=Wrapping(prefix=(198, 198, 47504, 25), suffix=(628,)),
        point=Wrapping(prefix=(198, 198, 12727, 25), suffix=(628,)),
        query_leading_space=True,
        query_suffix_repeats=1,
    ),
    release=Release(pixel_dtype="float16", suppression=False),
    tokenizer=TokenizerSource("vikhyatk/moondream2", "2025-04-14"),
)

_MARCH = replace(
    _APRIL,
    release=replace(_APRIL.release, temperature=0.0),
    tokenizer=TokenizerSource("vikhyatk/moondream2", "2025-03-27"),
)

_JANUARY = replace(
    _MARCH,
    region=replace(_MARCH.region, size_mapping="linear"),
    prompts=replace(
        _MARCH.prompts,
        caption={key: _MARCH.prompts.caption[key] for key in ("short", "normal")},
        query_leading_space=False,
        object_leading_space=False,
    ),
    release=replace(_MARCH.release, max_tokens=512, word_streaming=False),
    tokenizer=TokenizerSource("vikhyatk/moondream2", "2024-08-26"),
)

_PUBLIC = {
    "2025-06-21": _GENERATION_B,
    "2025-04-14": _APRIL,
    "2025-03-27": _MARCH,
    "2025-01-09": _JANUARY,
}
PUBLIC_REVISIONS = tuple(_PUBLIC)
