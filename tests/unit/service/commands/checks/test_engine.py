"""What is said of a device before anything is loaded on it."""

from typing import Any

from service.commands.checks.engine import hints, how_to_get

GIB = 1 << 30
MOONDREAM = 1_927_000_000


def said(**engine: Any) -> list[tuple[str, str, str]]:
    report = {
        "device": "cpu",
        "dtype": "float32",
        "device_error": None,
        "compile_problem": None,
        "num_weights": MOONDREAM,
        "quantization": "none",
        "shortage": None,
        "free_bytes": 16 * GIB,
        "computes_bfloat16": False,
        "can_shrink": True,
        **engine,
    }
    return [(each.part, each.level, each.text) for each in hints(report)]


def test_float32_on_a_cpu_is_told_of_int8() -> None:
    [(part, level, text)] = said()
    assert (part, level) == ("device", "note")
    assert "model.quantization: int8 is faster" in text


def test_who_has_int8_or_a_fast_cpu_or_a_gpu_hears_nothing() -> None:
    assert said(quantization="int8") == []
    assert said(dtype="bfloat16", computes_bfloat16=True) == []
    assert said(device="cuda:0", dtype="bfloat16") == []


def test_int8_is_not_said_where_it_would_be_refused() -> None:
    """On ARM, or beside model.compile."""
    assert said(can_shrink=False) == []
    assert said(can_shrink=False, dtype="bfloat16", computes_bfloat16=True, free_bytes=GIB) == []
    [(_, _, text)] = said(can_shrink=False, dtype="bfloat16")
    assert text.endswith("set model.dtype to auto")


def test_demonstration_model_is_left_exact() -> None:
    assert said(num_weights=3_000_000) == []


def test_bfloat16_without_instructions_is_warned_of() -> None:
    [(_, level, text)] = said(dtype="bfloat16")
    assert (level, "no instructions for bfloat16" in text) == ("note", True)


def test_model_that_does_not_fit_into_memory_needs_room() -> None:
    [(part, level, text)] = said(shortage="needs about 8.1 GiB of memory, 6.0 GiB are available")
    assert (part, level) == ("memory", "TODO")
    assert text == "the model needs about 8.1 GiB of memory, 6.0 GiB are available: make room"


def test_weights_that_do_not_fit_on_a_gpu_are_to_be_made_smaller() -> None:
    tight = {"device": "cuda:0", "dtype": "bfloat16", "free_bytes": 2 * GIB}
    [(part, level, text)] = said(**tight)
    assert (part, level) == ("memory", "TODO")
    assert "take 3.6 GiB, and 2.0 GiB of memory are free on cuda:0" in text
    assert "model.quantization to int8" in text
    assert said(**tight, quantization="int8") == []


def test_little_memory_beside_bfloat16_is_told_of_int8() -> None:
    [(part, level, _)] = said(dtype="bfloat16", computes_bfloat16=True, free_bytes=8 * GIB)
    assert (part, level) == ("memory", "note")


def test_device_that_is_not_there_has_no_hints() -> None:
    assert said(device="", dtype="", device_error="no CUDA device 9 here", free_bytes=0) == []


def test_model_that_is_not_there_yet_has_one_remedy() -> None:
    error = "some/model main config.json: not in the cache; fetch it with `moondream2mqtt download`"
    assert how_to_get(error) == (
        "some/model main config.json: not in the cache; `moondream2mqtt download` fetches it, and "
        "so does `serve` at its start"
    )
    assert how_to_get("no such folder") == "no such folder; see model.name and model.revision"


def test_compiler_that_is_missing_is_noted_beside_what_else_there_is_to_say() -> None:
    found = said(compile_problem="model.compile needs a C++ compiler", dtype="float32")
    assert found[0] == ("device", "note", "model.compile needs a C++ compiler")
    assert len(found) == 2
