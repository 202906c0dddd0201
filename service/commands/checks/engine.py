"""Model and device, asked of a child: this process never loads torch.

The child goes the engine's own way as far as nothing big is read, so what it finds wrong it says in
the engine's words.
"""

import asyncio
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from service.commands.checks.finding import Finding
from service.engines.child import child_environment
from service.engines.devices import engine_options
from service.errors import ServiceError
from service.settings import ModelSettings, Settings

_GIB = 1 << 30
_LITTLE_MEMORY = 10 * _GIB  # float32 takes 7.5 and its passes some more
_BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}
_DEMONSTRATION = 500_000_000  # weights; a smaller model is quick as it is


async def check_engines(settings: Settings) -> list[Finding]:
    """Whether each engine would find its device, what it needs there, and its model."""
    options = [json.dumps(asdict(each)) for each in engine_options(settings.model)]
    try:
        found = json.loads(await _ask("engine.probe", *options))
    except ServiceError as error:
        text = f"torch cannot be loaded: {error}; install the package again"
        return [Finding("device", "TODO", text)]
    engines: list[dict[str, Any]] = found["engines"]
    return [
        _model(settings.model, engines[0]),
        *_devices(found),
        *(finding for each in engines for finding in hints(each)),
    ]


def _model(model: ModelSettings, engine: dict[str, Any]) -> Finding:
    if engine["model_error"] is None:
        return Finding("model", "ok", f"{model.name}, files in {engine['folder']}")
    return Finding("model", "TODO", how_to_get(engine["model_error"]))


def how_to_get(error: str) -> str:
    """What is wrong with the model's files, and what to do."""
    missing, is_missing, _ = error.partition("not in the cache")
    if is_missing:  # the rest is advice for those who ask a running service for a model
        return (
            f"{missing}{is_missing}; `moondream2mqtt download` fetches it, and so does `serve` at "
            "its start"
        )
    return f"{error}; see model.name and model.revision"


def _devices(found: dict[str, Any]) -> Iterator[Finding]:
    gpus = [
        f"cuda:{number} {gpu['name']}, {gpu['free'] / _GIB:.1f} GiB free"
        for number, gpu in enumerate(found["gpus"])
    ]
    there = "; ".join(gpus) or f"no GPU, the CPU with {found['threads']} threads: slow"
    there += f" (torch {found['torch']})"
    for engine in found["engines"]:
        if engine["device_error"] is not None:
            yield Finding("device", "TODO", f"{engine['device_error']}{_how_to_mend(engine)}")
    used = dict.fromkeys(f"{each['device']} in {_form(each)}" for each in _without_error(found))
    if used:
        yield Finding("device", "ok", f"{', '.join(used)}; {there}")


def _without_error(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for each in found["engines"] if each["device_error"] is None]


def _form(engine: dict[str, Any]) -> str:
    """Number format of the weights."""
    is_shrunk = engine["quantization"] in {"int8", "int4"}
    return str(engine["quantization" if is_shrunk else "dtype"])


def _how_to_mend(engine: dict[str, Any]) -> str:
    if engine["device"]:
        return ""
    return "; install a PyTorch built for your driver, or set model.device to auto"


def hints(engine: dict[str, Any]) -> Iterator[Finding]:
    """What would be slow, or not fit.

    Args:
        engine: An `EngineReport` of `engine.probe`.
    """
    if engine["device_error"] is not None:
        return
    if engine["compile_problem"]:
        yield Finding("device", "note", engine["compile_problem"])
    if engine["shortage"]:
        yield Finding("memory", "TODO", f"the model {engine['shortage']}: make room")
    elif engine["device"] != "cpu":
        yield from _gpu_hints(engine)
    elif engine["quantization"] == "none" and engine["num_weights"] > _DEMONSTRATION:
        yield from _cpu_hints(engine)


def _gpu_hints(engine: dict[str, Any]) -> Iterator[Finding]:
    needed = engine["num_weights"] * _BYTES.get(engine["dtype"], 0.0)
    if engine["quantization"] == "none" and needed > engine["free_bytes"]:
        yield Finding(
            "memory",
            "TODO",
            f"the weights take {needed / _GIB:.1f} GiB, and {engine['free_bytes'] / _GIB:.1f} GiB "
            f"of memory are free on {engine['device']}: make room, or set model.quantization to "
            "int8",
        )


def _cpu_hints(engine: dict[str, Any]) -> Iterator[Finding]:
    can_shrink = engine["can_shrink"]
    if engine["dtype"] == "bfloat16" and not engine["computes_bfloat16"]:
        yield Finding(
            "device",
            "note",
            "this processor has no instructions for bfloat16, which is then several times slower "
            "than float32: set model.dtype to auto"
            + (", or model.quantization to int8" if can_shrink else ""),
        )
    elif engine["dtype"] == "float32" and can_shrink:
        yield Finding(
            "device",
            "note",
            "in float32 on this processor: model.quantization: int8 is faster and takes a third of "
            "the memory, with nearly the same answers",
        )
    elif engine["free_bytes"] < _LITTLE_MEMORY and can_shrink:
        yield Finding(
            "memory",
            "note",
            f"{engine['free_bytes'] / _GIB:.1f} GiB are free: model.quantization: int8 takes half "
            "of what the model takes now",
        )


async def _ask(module: str, *arguments: str) -> str:
    """Run one of our own modules in a child and return what it prints.

    Raises:
        ServiceError: It failed; the message is its last line on stderr.
    """
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=child_environment(),
    )
    try:
        output, errors = await child.communicate()
    finally:
        if child.returncode is None:  # out of time
            child.kill()
            await child.wait()
    if child.returncode:
        last = errors.decode(errors="replace").strip().splitlines()[-1:]
        raise ServiceError(last[0] if last else "no reason given")
    return output.decode(errors="replace").strip()
