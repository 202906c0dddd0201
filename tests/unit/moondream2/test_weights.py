import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from moondream2.config import public_config
from moondream2.errors import ModelFileError
from moondream2.model import Moondream
from moondream2.weights import dequantise, public_name
from tests.support.checkpoints import (
    FIXTURES,
    ODD_SHAPE,
    public_state,
    random_model,
    write_folder,
)

NAMES = json.loads((Path(__file__).parents[2] / "data" / "moondream-names.json").read_text())


def _legacy_state(model: Moondream) -> dict[str, Tensor]:
    """The weights as training wrote them: old names, two of them transposed."""
    old = {re.sub(r"\.\d+\.", ".0.", public): legacy for legacy, (public, _) in NAMES.items()}
    state = {}
    for name, tensor in model.state_dict().items():
        legacy = old[re.sub(r"\.\d+\.", ".0.", name)]
        if found := re.search(r"\.\d+\.", name):
            legacy = re.sub(r"\.\d+\.", found[0], legacy)
        is_old = name in ("region.coord_features", "region.size_features")
        state[legacy] = tensor.T if is_old else tensor
    return state


def _assert_same(actual: Moondream, expected: Moondream, dtype: torch.dtype | None = None) -> None:
    wanted = expected.state_dict()
    for name, tensor in actual.state_dict().items():
        rounded = wanted[name].to(dtype or tensor.dtype)
        assert torch.equal(tensor, rounded.to(tensor.dtype)), name


def test_load_recorded_folder_holds_the_tensors_of_the_file() -> None:
    file = load_file(FIXTURES / "model.safetensors")
    state = Moondream.load(FIXTURES).state_dict()
    assert {f"model.{name}" for name in state} == file.keys()
    assert all(torch.equal(tensor, file[f"model.{name}"].float()) for name, tensor in state.items())


def test_public_model_has_the_published_tensors() -> None:
    with torch.device("meta"):
        state = Moondream(public_config()).state_dict()
    assert len(state) == 592
    assert sum(tensor.numel() for tensor in state.values()) == 1_927_237_104
    for public, shape in NAMES.values():
        assert list(state[public].shape) == shape


@pytest.mark.parametrize("infix", ["", "._orig_mod"])
def test_public_name_of_every_legacy_name(infix: str) -> None:
    for legacy, (public, _) in NAMES.items():
        head, tail = legacy.split(".", 1)
        assert public_name(f"{head}{infix}.{tail}") == public
        assert public_name(f"model.{public}") == public


@pytest.mark.parametrize("stored", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("wanted", [torch.float32, torch.float16, torch.bfloat16])
def test_load_any_stored_dtype_to_any_dtype(
    tmp_path: Path, stored: torch.dtype, wanted: torch.dtype
) -> None:
    model = random_model()
    write_folder(tmp_path, ODD_SHAPE, public_state(model, stored))
    loaded = Moondream.load(tmp_path, dtype=wanted)
    assert {tensor.dtype for tensor in loaded.parameters()} == {wanted}
    _assert_same(loaded, model, stored)


def test_load_legacy_names_transposes_the_features(tmp_path: Path) -> None:
    model = random_model()
    write_folder(tmp_path, ODD_SHAPE, _legacy_state(model))
    loaded = Moondream.load(tmp_path)
    _assert_same(loaded, model)
    assert all(tensor.is_contiguous() for tensor in loaded.parameters())


def test_load_ignores_stored_caches_and_compile_infix(tmp_path: Path) -> None:
    model = random_model()
    state = {
        name.replace("blocks.", "_orig_mod.blocks."): tensor
        for name, tensor in public_state(model).items()
    }
    state["model.text.blocks.0.kv_cache.k_cache"] = torch.zeros(1, 2, 4, 8)
    state["model.text.blocks.1.kv_cache.v_cache"] = torch.zeros(1, 2, 4, 8)
    write_folder(tmp_path, ODD_SHAPE, state)
    _assert_same(Moondream.load(tmp_path), model)


def test_load_shards_reads_all_of_them(tmp_path: Path) -> None:
    model = random_model()
    state = public_state(model)
    write_folder(tmp_path, ODD_SHAPE, state)
    (tmp_path / "model.safetensors").unlink()
    where: dict[str, str] = {}
    for number, names in enumerate((list(state)[::2], list(state)[1::2])):
        save_file({name: state[name] for name in names}, tmp_path / f"part-{number}.safetensors")
        where |= dict.fromkeys(names, f"part-{number}.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    _assert_same(Moondream.load(tmp_path), model)


def test_load_is_independent_of_the_file(tmp_path: Path) -> None:
    model = random_model()
    write_folder(tmp_path, ODD_SHAPE, public_state(model))
    loaded = Moondream.load(tmp_path)
    path = tmp_path / "model.safetensors"
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
    _assert_same(loaded, model)


def test_load_with_wrong_tensors_tells_every_kind_of_fault(tmp_path: Path) -> None:
    state = public_state(random_model())
    for index in range(8):
        state[f"model.text.extra.{index}"] = torch.zeros(1)
    del state["model.text.lm_head.bias"]
    state["model.text.wte"] = torch.zeros(91, 48)
    write_folder(tmp_path, ODD_SHAPE, state)
    with pytest.raises(ModelFileError) as caught:
        Moondream.load(tmp_path)
    message = str(caught.value)
    assert "1 missing: text.lm_head.bias" in message
    assert "8 surplus: text.extra.0, " in message
    assert "and 3 more" in message
    assert "1 of another shape: text.wte is [91, 48], expected [90, 48]" in message


def test_load_with_a_tensor_under_both_names_is_refused(tmp_path: Path) -> None:
    state = public_state(random_model())
    state["text_model.transformer.embd.wte.weight"] = state["model.text.wte"]
    write_folder(tmp_path, ODD_SHAPE, state)
    with pytest.raises(ModelFileError, match=r"text\.wte a second time"):
        Moondream.load(tmp_path)


@pytest.mark.parametrize("kept", [0, 5, 1000, -100])
def test_load_of_a_cut_file_is_refused(tmp_path: Path, kept: int) -> None:
    write_folder(tmp_path, ODD_SHAPE, public_state(random_model()))
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ModelFileError, match="not a readable safetensors file"):
        Moondream.load(tmp_path)


@pytest.mark.parametrize("index", ['{"weight_map": {"a": "missing.safetensors"}}', "[]", "{"])
def test_load_without_usable_weights_is_refused(tmp_path: Path, index: str) -> None:
    write_folder(tmp_path, ODD_SHAPE, {})
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ModelFileError, match=r"has neither model\.safetensors nor"):
        Moondream.load(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(ModelFileError):
        Moondream.load(tmp_path)


def _quantise(weight: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    """Pack a weight as the 4-bit releases do, in numpy."""
    groups = weight.reshape(-1, 128)
    low, high = groups.min(1, keepdims=True), groups.max(1, keepdims=True)
    scale = (high - low) / 15
    steps = np.rint((groups - low) / scale).astype(np.uint8)
    half = len(steps) // 2
    packed = steps[:half] << 4 | steps[half:]
    return tuple(map(torch.from_numpy, (packed, scale, -low / scale)))  # type: ignore[return-value]


def test_dequantise_takes_high_nibbles_first() -> None:
    packed = torch.full((1, 128), 0x2F, dtype=torch.uint8)
    scale, zero = torch.tensor([[0.5], [2.0]]), torch.tensor([[1.0], [5.0]])
    weight = dequantise(packed, scale, zero, (2, 128))
    assert weight[0].tolist() == [(2 - 1) * 0.5] * 128
    assert weight[1].tolist() == [(15 - 5) * 2.0] * 128


def test_load_four_bit_weights_restores_them(tmp_path: Path) -> None:
    data = json.loads(json.dumps(ODD_SHAPE))
    data["text"]["mlp_size"] = 128  # fc1 and fc2 hold 48 x 128 values: whole groups
    model = random_model(data)
    state = public_state(model)
    for layer in range(2):
        for name in (f"text.blocks.{layer}.mlp.fc1", f"text.blocks.{layer}.mlp.fc2"):
            weight = state.pop(f"model.{name}.weight").numpy()
            parts = zip(("packed", "scale", "zero_point"), _quantise(weight), strict=True)
            state |= {f"model.{name}.weight.{part}": tensor for part, tensor in parts}
    write_folder(tmp_path, data, state)
    loaded = Moondream.load(tmp_path).state_dict()
    for name, tensor in model.state_dict().items():
        step = (tensor.max() - tensor.min()) / 15 if ".mlp.fc" in name and "text" in name else 0
        assert (loaded[name] - tensor).abs().max() <= step
    assert not torch.equal(
        loaded["text.blocks.0.mlp.fc1.weight"], model.state_dict()["text.blocks.0.mlp.fc1.weight"]
    )


def test_load_four_bit_weights_without_scale_names_it(tmp_path: Path) -> None:
    state = public_state(random_model())
    state["model.text.blocks.0.mlp.fc1.weight.packed"] = torch.zeros(15, 128, dtype=torch.uint8)
    del state["model.text.blocks.0.mlp.fc1.weight"]
    write_folder(tmp_path, ODD_SHAPE, state)
    with pytest.raises(ModelFileError, match=r"2 missing: text\.blocks\.0\.mlp\.fc1\.weight\.scal"):
        Moondream.load(tmp_path)


def test_load_four_bit_weights_of_another_grouping_is_refused(tmp_path: Path) -> None:
    state = public_state(random_model())
    name = "model.text.blocks.0.mlp.fc1.weight"
    weight = state.pop(name)
    state[f"{name}.packed"] = torch.zeros(weight.numel() // 256, 128, dtype=torch.uint8)
    state[f"{name}.scale"] = state[f"{name}.zero_point"] = torch.ones(weight.numel() // 64, 1)
    write_folder(tmp_path, ODD_SHAPE, state)
    with pytest.raises(ModelFileError, match=r"scale is \[60, 1\], expected \[30, 1\]"):
        Moondream.load(tmp_path)


def test_prefix_embeddings_start_with_bos() -> None:
    model = random_model()
    prefix = model.prefix_embeddings(torch.ones(2, 64, 48))
    assert prefix.shape == (2, 65, 48)
    assert torch.equal(prefix[1, 0], model.text.wte[0])
    assert torch.equal(prefix[:, 1:], torch.ones(2, 64, 48))
