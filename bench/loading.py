"""What loading a model of full size takes: time, and the most memory at once.

    python -m bench.loading --size full

Writes a checkpoint of random weights in bfloat16 once, as published ones are (3.9 GB in a temporary
folder), then loads it in every format as the service does, each in a process of its own. Memory is
told twice: all that was resident at once, which counts the pages of the mapped file that the system
takes back when it needs them, and what nothing but the swap could take back.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file

from bench._machine import describe
from bench.engine import DEMO, random_model
from engine.loading import load
from engine.protocol import ModelOptions
from moondream2.config import DEFAULT_REVISION, public_config
from moondream2.model import Moondream

_STATUS = Path("/proc/self/status")
_POLL_S = 0.01
#: dtype and quantization of each format.
_FORMATS: dict[str, tuple[str, Literal["none", "int8"]]] = {
    "float32": ("float32", "none"),
    "bfloat16": ("bfloat16", "none"),
    "int8": ("auto", "int8"),
}
#: Most GiB at once, with the pages of the file.
GOAL = 4.3e9 / 2**30


def write(folder: Path, model: Moondream) -> None:
    """Write a model folder; the demonstration's vocabulary serves for loading."""
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    save_file(state, folder / "model.safetensors")
    dimensions = asdict(model.config)
    del dimensions["tokenizer"]  # with it, the vocabulary would have to be the published one
    (folder / "config.json").write_text(json.dumps(dimensions))
    (folder / "tokenizer.json").write_bytes((DEMO / "tokenizer.json").read_bytes())


def measured(work: Callable[[], object]) -> dict[str, float]:
    """Do work and say seconds and GiB: `peak` resident, `anonymous` of it, `after`."""
    anonymous = 0.0
    is_done = threading.Event()

    def poll() -> None:
        nonlocal anonymous
        while not is_done.wait(_POLL_S):
            anonymous = max(anonymous, _gib("RssAnon"))

    thread = threading.Thread(target=poll)
    thread.start()
    begin = time.perf_counter()
    kept = work()
    seconds = time.perf_counter() - begin
    is_done.set()
    thread.join()
    after = _gib("VmRSS")
    del kept
    return {"s": seconds, "peak": _gib("VmHWM"), "anonymous": anonymous, "after": after}


def _gib(name: str) -> float:
    lines = _STATUS.read_text(encoding="ascii").splitlines()
    line = next(line for line in lines if line.startswith(f"{name}:"))
    return int(line.split()[1]) / 2**20


def load_here(folder: str, kind: str) -> None:
    """Load as the engine process does, and print figures as JSON."""
    dtype, quantization = _FORMATS[kind]
    options = ModelOptions(
        folder, DEFAULT_REVISION, "cpu", dtype, slots=1, quantization=quantization, download=False
    )
    print(json.dumps(measured(lambda: load(options, lambda _: None))))


def main() -> None:
    """Print one line for each format."""
    parser = argparse.ArgumentParser(prog="bench.loading", description=__doc__.split("\n\n")[0])
    parser.add_argument("--size", default="demo", help="full, demo, or a model folder")
    parser.add_argument("--formats", default=",".join(_FORMATS))
    parser.add_argument("--here", choices=_FORMATS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here:
        load_here(args.size, args.here)
        return
    print(describe())
    with tempfile.TemporaryDirectory(prefix="moondream2mqtt-bench-") as name:
        folder = {"full": name, "demo": str(DEMO)}.get(args.size, args.size)
        if args.size == "full":
            write(Path(name), random_model(public_config(), torch.device("cpu"), torch.bfloat16))
        print("format       seconds  peak GiB  anonymous  after")
        for kind in args.formats.split(","):
            command = [sys.executable, "-m", "bench.loading", "--size", folder, "--here", kind]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found = json.loads(output.splitlines()[-1])
            print(
                f"{kind:<12} {found['s']:7.1f} {found['peak']:9.2f} {found['anonymous']:10.2f} "
                f"{found['after']:6.2f}",
                flush=True,
            )
            if kind == "int8":
                verdict = "PASS" if found["peak"] <= GOAL else "FAIL"
                print(f"{verdict} int8 loads in {found['peak']:.2f} GiB, goal {GOAL:.2f}")


if __name__ == "__main__":
    main()
