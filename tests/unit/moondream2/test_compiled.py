"""That the encoding passes can be captured whole; what is made of them then is torch's work."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from moondream2.cache import Segment, SlotCache, prefill
from moondream2.compiled import CompiledPrefill, check_compiler, compile_vision
from moondream2.crops import Crops, prepare
from moondream2.errors import CompileError
from moondream2.model import Moondream
from tests.support.generation import odd_model, picture


class Captures:
    """A backend that counts what it gets and runs it as it is."""

    def __init__(self) -> None:
        self.num = 0

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        """Take one captured graph."""
        self.num += 1
        return graph.forward


@pytest.fixture(autouse=True)
def _forget() -> None:
    torch._dynamo.reset()


def _frames(model: Moondream, *sizes: tuple[int, int]) -> list[Crops]:
    return [prepare(picture(0, *size), model.config.vision) for size in sizes]


@torch.inference_mode()
def test_captured_encoder_equals_plain_for_any_number_of_crops() -> None:
    plain, model, captures = odd_model(), odd_model(), Captures()
    compile_vision(model.vision, captures)
    several = (
        _frames(model, (260, 130)),
        _frames(model, (90, 80), (260, 130)),
        _frames(model, (220, 120)),
    )
    for frames in several:
        assert torch.equal(model.vision.encode(frames), plain.vision.encode(frames))
    assert captures.num == 1
    single = _frames(model, (90, 80))
    assert torch.equal(model.vision.encode(single), plain.vision.encode(single))
    assert captures.num == 2


@torch.inference_mode()
def test_captured_prefill_keeps_what_prefill_keeps() -> None:
    model, captures = odd_model(), Captures()
    compiled = CompiledPrefill(model.text, captures)
    length = model.config.text.prefix_length
    for slots in ([0, 2, 3], [3, 1, 2], [1, 0]):
        embeddings = torch.randn(len(slots), length, model.config.text.hidden_size)
        plain, captured = _cache(model), _cache(model)
        prefill(model.text, embeddings, plain, slots)
        compiled(model.text, embeddings, captured, slots)
        for layer in range(model.config.text.layers):
            for slot in slots:
                here = Segment(slot, 0, length)
                for expected, found in zip(
                    plain.read(layer, here), captured.read(layer, here), strict=True
                ):
                    assert torch.equal(found, expected)
    assert captures.num == 1


def _cache(model: Moondream) -> SlotCache:
    return SlotCache(model.config.text, 4, device=model.device, dtype=model.dtype)


def test_compiler_that_is_not_there_is_named_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(CompileError, match="no-such-compiler was found: install g"):
        check_compiler()
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(CompileError, match=r"and none was found: .*model\.compile to false"):
        check_compiler()
