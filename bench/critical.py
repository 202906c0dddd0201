"""How long a critical frame waits on a CPU while another is encoded, and what a frame costs.

    python -m bench.critical --size full --dtype int8

The costs are those that an engine works out at its start; beside them stands one real frame. Then a
critical frame is submitted in the middle of the encoding of a less urgent one, with encoding in
parts as on a CPU and with whole frames. Then some frames at once, against one after the other.
`--cpu-time` counts the seconds that this process computed, for a machine that is shared; use it
with one thread.
"""

import argparse
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

from bench._machine import describe
from bench.engine import DEMO, DTYPES, Wordless, noise, random_model, software
from moondream2.config import public_config
from moondream2.costs import CAPTION_TOKENS, FRAME, Costs, measure, num_crops
from moondream2.crops import Crops, prepare
from moondream2.encoding import Clock
from moondream2.generate import Engine
from moondream2.int8 import shrink_linears
from moondream2.model import Moondream
from moondream2.packed import can_pack, pack_linears
from moondream2.tasks import Caption, Finished, Request, Started
from moondream2.tokens import Tokenizer


@dataclass
class Run:
    """What became of the requests of one engine."""

    clock: Clock
    steps: list[float] = field(default_factory=list)
    started: dict[str, float] = field(default_factory=dict)
    finished: dict[str, float] = field(default_factory=dict)
    num_tokens: int = 0

    def step(self, engine: Engine) -> None:
        """Do one step and note what it told."""
        begin = self.clock()
        events = engine.step()
        self.steps.append(self.clock() - begin)
        for event in events:
            if isinstance(event, Started):
                self.started[event.key] = self.clock()
            elif isinstance(event, Finished):
                self.finished[event.key] = self.clock()
                self.num_tokens += sum(len(getattr(a, "token_ids", ())) for a in event.answers)

    def finish(self, engine: Engine, key: str | None = None) -> None:
        """Step to the end of a request, or of all."""
        while engine.has_work and key not in self.finished:
            self.step(engine)


@dataclass(frozen=True)
class Bench:
    """A model and what is measured with it."""

    model: Moondream
    tokenizer: Tokenizer
    clock: Clock
    limit_s: float
    tokens: int

    def engine(self, limit_s: float | None, slots: int) -> Engine:
        """Return an engine that encodes in parts, or whole frames."""
        return Engine(
            self.model, self.tokenizer, slots=slots, encode_limit_s=limit_s, clock=self.clock
        )

    def request(self, key: str, crops: Crops, rank: float = 1.0) -> Request:
        """Return a request for a caption of a fixed length."""
        return Request(key, (rank,), crops, (Caption("normal"),), max_tokens=self.tokens)

    def frame(self, max_crops: int) -> Crops:
        """Return a frame of noise."""
        height, width = FRAME
        return prepare(noise(width, height), self.model.config.vision, max_crops)

    def alone(self, crops: Crops) -> tuple[float, int]:
        """Return the seconds of one frame, and the tokens of its caption."""
        engine, run = self.engine(self.limit_s, 1), Run(self.clock)
        begin = self.clock()
        engine.submit(self.request("a", crops))
        run.finish(engine)
        return run.finished["a"] - begin, run.num_tokens

    def critical(self, crops: Crops, limit_s: float | None) -> tuple[float, float, float]:
        """Return seconds to the critical frame's start and end, and of the longest step."""
        engine, run = self.engine(limit_s, 2), Run(self.clock)
        engine.submit(self.request("low", crops))
        begin = self.clock()
        run.step(engine)  # whatever waits now waits for the rest of it
        if limit_s is None:  # submitted in the middle of that step
            submitted_at = begin + run.steps[0] / 2
        else:
            while engine.has_work and len(run.steps) < 4:
                run.step(engine)
            submitted_at = self.clock() - run.steps[-1]  # at the beginning of that step
        engine.submit(self.request("critical", self.frame(1), 0.0))
        run.finish(engine, "critical")
        waits = run.started["critical"] - submitted_at, run.finished["critical"] - submitted_at
        return *waits, max(run.steps)

    def together(self, crops: Crops, batch: int, limit_s: float | None) -> float:
        """Return seconds a frame of some submitted at once."""
        engine, run = self.engine(limit_s, batch), Run(self.clock)
        begin = self.clock()
        for index in range(batch):
            engine.submit(self.request(str(index), crops))
        run.finish(engine)
        return (self.clock() - begin) / batch


def load(args: argparse.Namespace) -> tuple[Moondream, Tokenizer]:
    """Make or load the model."""
    dtype = DTYPES["bfloat16" if args.dtype == "int8" else args.dtype]
    if args.size == "full":
        model = random_model(public_config(), torch.device("cpu"), dtype)
        tokenizer: Tokenizer = Wordless(model.config)
    else:
        folder = DEMO if args.size == "demo" else Path(args.size)
        model = Moondream.load(folder, dtype=dtype)
        tokenizer = Tokenizer.load(folder / "tokenizer.json", model.config)
    if args.dtype == "int8":
        shrink_linears(model)
    if can_pack(model):
        pack_linears(model)
    return model, tokenizer


def show_costs(bench: Bench, costs: Costs) -> None:
    """Print what frames cost by what was measured, and one real frame."""
    config = bench.model.config.vision
    print(f"crop {costs.crop_s:.3f} s, prefix {costs.prefix_s:.3f} s, token {costs.token_s:.4f} s")
    for most in range(config.max_crops, 0, -1):
        crops = num_crops(config, most)
        if most == config.max_crops or crops != num_crops(config, most + 1):
            print(f"  max_crops {most:2}: {crops} crops, {costs.frame_s(crops):.2f} s a frame")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="bench.critical", description=__doc__.split("\n\n")[0])
    parser.add_argument("--size", default="demo", help="full, demo, or a model folder")
    parser.add_argument("--dtype", choices=[*DTYPES, "int8"], default="float32")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--tokens", type=int, default=CAPTION_TOKENS, help="of a caption")
    parser.add_argument("--limit", type=float, default=1.5, help="seconds of encoding in a step")
    parser.add_argument("--max-crops", type=int, default=12, help="most local crops of a frame")
    parser.add_argument("--batch", type=int, default=4, help="frames at once; 0: leave that out")
    parser.add_argument("--cpu-time", action="store_true", help="count seconds of computing")
    return parser.parse_args()


def main() -> None:
    """Print all figures."""
    args = parse()
    if args.threads:
        torch.set_num_threads(args.threads)
    print(describe())
    print(software(torch.device("cpu")), args.dtype)
    model, tokenizer = load(args)
    clock = time.process_time if args.cpu_time else time.monotonic
    bench = Bench(model, tokenizer, clock, args.limit, args.tokens)
    begin = clock()
    costs = measure(model, clock)
    print(f"measured in {clock() - begin:.1f} s:", end=" ")
    show_costs(bench, costs)
    crops = bench.frame(args.max_crops)
    for name, limit_s in (("in parts", args.limit), ("whole", None)):
        start, end, longest = bench.critical(crops, limit_s)
        print(f"critical, {name}: start after {start:.2f} s, end {end:.2f} s, step {longest:.2f} s")
    seconds, num_tokens = bench.alone(crops)
    guess = costs.frame_s(len(crops)) - (CAPTION_TOKENS - num_tokens) * costs.token_s
    print(f"{len(crops)} crops and {num_tokens} tokens: {seconds:.2f} s, worked out {guess:.2f} s")
    for name, limit_s in (("in parts", args.limit), ("whole", None)):
        if args.batch:
            each = bench.together(crops, args.batch, limit_s)
            print(
                f"{args.batch} at once, {name}: {each:.2f} s a frame, {each / seconds:.2f} of one"
            )


if __name__ == "__main__":
    main()
