"""Float32 and 8 bits in turns: what a CPU gains from `model.quantization: int8`.

    python -m bench.int8 --size full --repeats 3

Both models have the same random weights and take their turns at every measurement, so that what
else the machine does meets both; the shortest time of each counts. A frame is measured from its
submission to its first token: crops, prefix and prompt. Eight rows begin to generate together and
half of them stop twice, so that one run has steps of 8, 4 and 1 rows. What loading takes is
measured by `bench.loading`.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from bench._machine import describe
from bench.engine import DEMO, Wordless, noise, random_model, software
from moondream2.config import public_config
from moondream2.crops import Crops, prepare
from moondream2.generate import Engine
from moondream2.int8 import shrink_linears, weight_steps
from moondream2.model import Moondream
from moondream2.tasks import Caption, Finished, Request
from moondream2.tokens import Tokenizer

#: What 8 bits should gain where there are no bfloat16 instructions.
GOALS = {"nine crops": 1.5, "one crop": 1.8, "decode, 1 row": 3.3}
_FORMATS = ("float32", "int8")
_FEATURES = ("avx2", "avx512_f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
_ROWS = (8, 4, 1)


@dataclass
class Steps:
    """The shortest step of every number of rows that generate, and what the step at hand read."""

    shortest: dict[int, float] = field(default_factory=dict)
    passes: list[tuple[str, int]] = field(default_factory=list)

    def watch(self, kind: str, size: int) -> None:
        """Note a pass of the step."""
        self.passes.append((kind, size))

    def note(self, seconds: float) -> None:
        """Book the step if it did nothing but generate, and begin the next."""
        if len(self.passes) == 1 and self.passes[0][0] == "read":
            rows = self.passes[0][1]
            self.shortest[rows] = min(seconds, self.shortest.get(rows, seconds))
        self.passes.clear()


def models(size: str) -> tuple[dict[str, Moondream], Tokenizer]:
    """The same weights in both formats; neither stops by itself."""
    if size == "full":
        config = public_config()
        device = torch.device("cpu")
        found = {}
        for name in _FORMATS:
            torch.manual_seed(0)
            found[name] = random_model(config, device, torch.float32)
        tokenizer: Tokenizer = Wordless(config)
    else:
        folder = DEMO if size == "demo" else Path(size)
        found = {name: Moondream.load(folder) for name in _FORMATS}
        config = found["int8"].config
        tokenizer = Tokenizer.load(folder / "tokenizer.json", config)
        for model in found.values():
            model.text.lm_head.bias[config.tokens.eos] = -1e4
    shrink_linears(found["int8"])
    return found, tokenizer


def first_token(engine: Engine, crops: Crops) -> float:
    """Seconds from the submission of a frame to its first token."""
    engine.submit(Request("frame", (0.0,), crops, (Caption("normal"),), max_tokens=1))
    seconds = 0.0
    while engine.has_work:
        for event in engine.step():
            if isinstance(event, Finished):
                seconds = event.timings.first_token_seconds
    return seconds


def decode(engine: Engine, steps: Steps, crops: Crops, tokens: int) -> None:
    """Generate with eight rows, then four, then one, `tokens` steps each."""
    stops = {8: 1, 4: 2, 1: 3}
    for index in range(max(_ROWS)):
        part = next(stops[rows] for rows in sorted(_ROWS) if index < rows)
        task = (Caption("normal"),)
        engine.submit(Request(str(index), (index,), crops, task, max_tokens=part * tokens))
    while engine.has_work:
        begin = time.perf_counter()
        engine.step()
        steps.note(time.perf_counter() - begin)


def in_turns(repeats: int, measures: dict[str, Callable[[], float]]) -> dict[str, float]:
    """The shortest of some measurements of each, which take turns."""
    found = {name: [measure()] for name, measure in measures.items()}  # the first warms up as well
    for _ in range(repeats - 1):
        for name, measure in measures.items():
            found[name].append(measure())
    return {name: min(times) for name, times in found.items()}


def compare(size: str, repeats: int, tokens: int) -> dict[str, dict[str, float]]:
    """Seconds by what is measured and format; of decoding, of one step."""
    found, tokenizer = models(size)
    steps = {name: Steps() for name in _FORMATS}
    engines = {
        name: Engine(model, tokenizer, slots=max(_ROWS), watch=steps[name].watch)
        for name, model in found.items()
    }
    vision = found["int8"].config.vision
    one, nine = prepare(noise(1280, 720), vision, 1), prepare(noise(1280, 720), vision)
    table = {}
    for label, crops in ((f"{_counted(len(nine))} crops", nine), ("one crop", one)):
        measures = {
            name: lambda engine=engine, crops=crops: first_token(engine, crops)
            for name, engine in engines.items()
        }
        table[label] = in_turns(repeats, measures)  # type: ignore[arg-type]
    for _ in range(max(1, repeats - 1)):
        for name, engine in engines.items():
            decode(engine, steps[name], one, tokens)
    for rows in sorted(_ROWS):
        label = f"decode, {rows} row{'s' if rows > 1 else ''}"
        table[label] = {name: steps[name].shortest[rows] for name in _FORMATS}
    return table


def _counted(number: int) -> str:
    return "nine" if number == 9 else str(number)


def show(table: dict[str, dict[str, float]]) -> None:
    """Print the table, then each goal."""
    print(f"{'seconds':<16} {'float32':>9} {'int8':>9} {'×':>6}  tokens/s")
    for label, times in table.items():
        exact, shrunk = (times[name] for name in _FORMATS)
        rows = int(label.split()[1]) if label.startswith("decode") else 0
        rates = f"{rows / exact:7.1f} {rows / shrunk:7.1f}" if rows else ""
        print(f"{label:<16} {exact:9.3f} {shrunk:9.3f} {exact / shrunk:6.2f}  {rates}")
    for label, least in GOALS.items():
        if label in table:
            ratio = table[label]["float32"] / table[label]["int8"]
            verdict = "PASS" if ratio >= least else "FAIL"
            print(f"{verdict} {label}: {ratio:.2f} ×, goal {least} ×")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.int8", description=__doc__.split("\n\n")[0])
    parser.add_argument("--size", default="demo", help="full, demo, or a model folder")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each format")
    parser.add_argument("--tokens", type=int, default=8, help="steps of each number of rows")
    parser.add_argument("--threads", type=int, help="CPU threads")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    features = torch.cpu.get_capabilities()
    print(describe())
    print(software(torch.device("cpu")))
    print(f"{' '.join(name for name in _FEATURES if features.get(name))}; ", end="")
    print(f"weights in {8 if weight_steps() > 64 else 7} bits; {args.size}")
    show(compare(args.size, args.repeats, args.tokens))


if __name__ == "__main__":
    main()
