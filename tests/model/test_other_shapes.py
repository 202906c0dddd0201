"""Models of other dimensions: cached = uncached, batched = alone, whatever file they come from."""

from pathlib import Path
from typing import Any

import pytest
import torch

from moondream2.generate import Engine
from moondream2.model import Moondream
from moondream2.tasks import (
    Caption,
    Detect,
    Gaze,
    ObjectsAnswer,
    Point,
    Query,
    Request,
    Task,
    TextAnswer,
)
from tests.support.checkpoints import ODD_SHAPE, public_state, shape, write_folder
from tests.support.generation import (
    answers,
    discrete,
    naive_boxes,
    naive_text,
    odd_engine,
    odd_model,
    request,
    run,
    tokenizer_for,
)

SHAPES: dict[str, dict[str, Any]] = {
    "grouped heads": ODD_SHAPE,
    "one key head": shape(text={"kv_heads": 1}),
    "all key heads": shape(text={"kv_heads": 6}),
    "other heads": shape(text={"heads": 4, "kv_heads": 2, "head_dim": 12, "rotary_dim": 12}),
    "four vision layers": shape(vision={"layers": 4, "heads": 6, "overlap_margin": 0}),
    "linear sizes": shape(region={"size_mapping": "linear"}),
}
TASKS: tuple[Task, ...] = (
    Caption("short"),
    Detect("w30"),
    Query("w40 w41"),
    Point("w31"),
    Query("w40", reasoning=True),
    Gaze((0.25, 0.5)),
    Query("w50", spatial_refs=((0.1, 0.2), (0.3, 0.3, 0.9, 0.5))),
    Caption("normal"),
)


def _requests(model: Moondream) -> list[Request]:
    """Frames of one and of several crops, and a question without a frame."""
    frames = [
        request(model, f"frame{seed}", *TASKS, seed=seed, size=size)
        for seed, size in enumerate(((90, 80), (260, 130), (90, 80), (130, 300)))
    ]
    bare = Request("bare", (0.0,), None, (Query("w33 w34"),), max_tokens=12)
    return [*frames, bare]


@pytest.mark.parametrize("name", SHAPES)
def test_batched_equals_alone(name: str) -> None:
    model = odd_model(SHAPES[name])
    requests = _requests(model)
    alone: dict[str, Any] = {}
    for each in requests:
        alone |= answers(run(odd_engine(model, slots=1), [each]))
    for slots in (3, 40):
        together = answers(run(odd_engine(model, slots=slots), reversed(requests)))
        for key, group in alone.items():
            assert list(map(discrete, together[key])) == list(map(discrete, group)), (key, slots)


@pytest.mark.parametrize("name", SHAPES)
def test_cached_equals_uncached(name: str) -> None:
    model = odd_model(SHAPES[name])
    tokenizer = tokenizer_for(model.config)
    num_texts = num_boxes = 0
    for seed in range(4):
        each = request(model, "a", Caption("short"), Detect("w30"), seed=seed, size=(260, 130))
        assert each.crops is not None
        text, objects = answers(run(odd_engine(model), [each]))["a"]
        assert isinstance(text, TextAnswer)
        assert isinstance(objects, ObjectsAnswer)
        caption, detect = (
            [f for f in tokenizer.prompt(task) if isinstance(f, int)] for task in each.tasks
        )
        assert list(text.token_ids) == naive_text(model, each.crops, caption, each.max_tokens)
        found = naive_boxes(model, each.crops, detect, each.max_objects)
        assert (list(objects.coordinate_bins), list(objects.size_bins)) == found
        num_texts += len(text.token_ids)
        num_boxes += len(objects.boxes)
    assert num_texts > 4, "the random model should say something"
    assert num_boxes > 0, "the random model should find something"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_answers_do_not_depend_on_the_file(tmp_path: Path, dtype: torch.dtype) -> None:
    """A 16-bit file in float32, and the same under training-time names, answer the same."""
    state = public_state(odd_model(), dtype)
    legacy = {_legacy_name(key): _legacy_layout(key, tensor) for key, tensor in state.items()}
    found = []
    for name, tensors in (("public", state), ("legacy", legacy)):
        model = Moondream.load(write_folder(tmp_path / name, ODD_SHAPE, tensors))
        engine = Engine(model, tokenizer_for(model.config), slots=4)
        events = answers(run(engine, _requests(model)))
        found.append({key: list(map(discrete, group)) for key, group in events.items()})
    assert found[0] == found[1]
    rounded = odd_model()
    for parameter in rounded.parameters():
        parameter.copy_(parameter.to(dtype))
    events = answers(run(odd_engine(rounded, slots=4), _requests(rounded)))
    assert found[0] == {key: list(map(discrete, group)) for key, group in events.items()}


def test_bfloat16_model_answers_every_task() -> None:
    model = odd_model().to(torch.bfloat16)
    found = answers(run(odd_engine(model, slots=6), _requests(model)))
    assert [len(group) for group in found.values()].count(len(TASKS)) == 4
    assert all(0 < answer.confidence <= 1 for group in found.values() for answer in group)


def _legacy_name(key: str) -> str:
    """Translate a public name to the training-time one."""
    name = key.removeprefix("model.")
    for new, old in (
        ("vision.patch_emb.", "vision_encoder.encoder.model.visual.patch_embed.linear."),
        ("vision.pos_emb", "vision_encoder.encoder.model.visual.pos_embed"),
        ("vision.post_ln.", "vision_encoder.encoder.model.visual.norm."),
        ("vision.blocks.", "vision_encoder.encoder.model.visual.blocks."),
        ("vision.proj_mlp.", "vision_encoder.projection.mlp."),
        ("text.wte", "text_model.transformer.embd.wte.weight"),
        ("text.post_ln.", "text_model.lm_head.ln."),
        ("text.lm_head.", "text_model.lm_head.linear."),
        ("region.coord_features", "region_model.coordinate_features.weight"),
        ("region.size_features", "region_model.size_features.weight"),
        ("region.coord_encoder.", "region_model.coordinate_encoder."),
        ("region.coord_decoder.", "region_model.coordinate_decoder."),
        ("region.", "region_model."),
    ):
        if name.startswith(new):
            name = old + name[len(new) :]
            break
    if name.startswith("vision_encoder"):
        return name.replace(".ln1.", ".norm1.").replace(".ln2.", ".norm2.")
    if name.startswith("text.blocks."):
        name = name.replace("text.blocks.", "text_model.transformer.h.")
        return name.replace("attn.qkv", "mixer.Wqkv").replace("attn.proj", "mixer.out_proj")
    return name


def _legacy_layout(key: str, tensor: torch.Tensor) -> torch.Tensor:
    return tensor.T if key.endswith(("coord_features", "size_features")) else tensor
