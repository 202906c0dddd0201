"""What does choosing cost beside a question, and what do captions beside it wait for?

    python -m bench.choose --repeats 30

A request has one task and a frame; the time without encoding is that of the prompt and of all that
follows it. Then seven captions run without and with a row beside them that weighs 16 choices again
and again: the difference of the steps is what they wait longer.
"""

import argparse
import statistics
import time

import torch

from bench._machine import describe
from bench.engine import DEMO, noise
from moondream2.crops import Crops, prepare
from moondream2.generate import Engine
from moondream2.model import Moondream
from moondream2.tasks import Caption, Choose, Finished, Query, Request, Task
from moondream2.tokens import Tokenizer

QUESTION = "What colour is the car?"
COLOURS = ("Red", "Green", "Blue", "White", "Black", "Yellow", "Grey", "Brown")
CHOICES = (*COLOURS, *(f"{colour} and white" for colour in COLOURS))
TASKS: dict[str, Task] = {
    "a question, answered freely": Query(QUESTION),
    "2 choices": Choose(QUESTION, CHOICES[:2]),
    "4 choices": Choose(QUESTION, CHOICES[:4]),
    "16 choices": Choose(QUESTION, CHOICES),
}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="bench.choose", description=__doc__.split("\n\n")[0])
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(describe())
    model = Moondream.load(DEMO)
    engine = Engine(model, Tokenizer.load(DEMO / "tokenizer.json", model.config), slots=8)
    frame = prepare(noise(640, 480), model.config.vision)
    compare(engine, frame, args.repeats)
    hold_up(engine, frame, args.repeats)


def compare(engine: Engine, frame: Crops, repeats: int) -> None:
    """Answer each task by itself, in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in TASKS}
    steps: dict[str, int] = {}
    for _ in range(repeats + 1):  # the first warms up
        for name, task in TASKS.items():
            engine.submit(Request(name, (0.0,), frame, (task,), max_tokens=32))
            timings = _finish(engine).timings
            seconds[name].append(timings.total_seconds - timings.encode_seconds)
            steps[name] = timings.steps
    for name, found in seconds.items():
        median = statistics.median(found[1:]) * 1e3
        print(f"{name:28} {median:6.1f} ms without encoding, {steps[name]} steps")


def _finish(engine: Engine) -> Finished:
    while True:
        for event in engine.step():
            if isinstance(event, Finished):
                return event


def hold_up(engine: Engine, frame: Crops, repeats: int) -> None:
    """Let captions run alone, then beside choices."""
    for name, task in (("alone", None), ("beside 16 choices", TASKS["16 choices"])):
        captions = (Caption("long"),) * 7
        others = () if task is None else (task,) * repeats
        engine.submit(Request("captions", (0.0,), frame, captions, max_tokens=96))
        if others:
            engine.submit(Request("choices", (0.0, 1.0), frame, others))
        engine.step()  # encodes
        times = []
        while engine.has_work:
            before = time.perf_counter()
            ended = [event.key for event in engine.step() if isinstance(event, Finished)]
            times.append(time.perf_counter() - before)
            if ended:  # from here on they are alone
                break
        _drain(engine)
        median, most = statistics.median(times) * 1e3, max(times) * 1e3
        print(f"seven captions {name:18} a step takes {median:5.1f} ms, {most:5.1f} at most")


def _drain(engine: Engine) -> None:
    while engine.has_work:
        engine.step()


if __name__ == "__main__":
    main()
