"""That the encoding passes can be captured whole; what is made of them then is torch's work."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from moondream2.cache import Segment, SlotCache, prefill
from moondream2.compiled import CompiledPrefill, Compiler, compile_vision, missing_compiler
from moondream2.crops import Crops, prepare
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
    compile_vision(model.vision, Compiler(captures))
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
    compiled = CompiledPrefill(model.text, Compiler(captures))
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
    assert "and no-such-compiler was not found: the passes" in str(missing_compiler())
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", "/nonexistent")
    problem = str(missing_compiler())
    assert "and none was found: " in problem
    assert problem.endswith("install g++ (and gcc, for CUDA), or set model.compile to false")


class Broken:
    """A backend whose compiler fails, as one without its headers does."""

    def __init__(self) -> None:
        self.num = 0

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        """Refuse a captured graph."""
        self.num += 1
        raise OSError("fatal error: Python.h: No such file or directory")


def test_passes_that_cannot_be_compiled_run_as_they_are(caplog: pytest.LogCaptureFixture) -> None:
    """With one warning for all of them, and no second try."""
    plain, model, broken = odd_model(), odd_model(), Broken()
    compiler = Compiler(broken)
    compile_vision(model.vision, compiler)
    prefill_or_compiled = CompiledPrefill(model.text, compiler)
    frames = _frames(model, (260, 130))
    length, width = model.config.text.prefix_length, model.config.text.hidden_size
    expected, found = _cache(plain), _cache(model)
    with torch.inference_mode():
        for _ in range(2):
            assert torch.equal(model.vision.encode(frames), plain.vision.encode(frames))
        embeddings = torch.randn(1, length, width)
        prefill(plain.text, embeddings, expected, [1])
        prefill_or_compiled(model.text, embeddings, found, [1])
    for layer in range(model.config.text.layers):
        here = Segment(1, 0, length)
        for one, other in zip(expected.read(layer, here), found.read(layer, here), strict=True):
            assert torch.equal(one, other)
    assert broken.num == 1
    (said,) = (each.getMessage() for each in caplog.records if each.name == "moondream2.compiled")
    assert "compiling fails" in said
    assert said.endswith("OSError: fatal error: Python.h: No such file or directory")


def test_error_of_a_compiled_pass_itself_is_told() -> None:
    """Want of memory has a remedy of its own, and is not for the compiler to hide."""

    def runs_short(_graph: torch.fx.GraphModule, _inputs: list[Tensor]) -> Callable[..., Any]:
        def run(*_: Any) -> Any:
            raise torch.OutOfMemoryError("injected")

        return run

    model = odd_model()
    compile_vision(model.vision, Compiler(runs_short))
    with torch.inference_mode(), pytest.raises(torch.OutOfMemoryError, match="injected"):
        model.vision.encode(_frames(model, (260, 130)))
