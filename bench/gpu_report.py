"""Everything one short run on a GPU has to tell: is it right, how fast, and where does time go.

    python3 -m bench.gpu_report --out report.json
    python3 -m bench.gpu_report --quick

Needs the repository, torch and what `moondream2` imports, and nothing from the network: the weights
are random, of the public model's size, and captions never stop by themselves. It takes at most nine
minutes. What is measured where is told by the modules of `bench.gpu`. `--quick`, which is also what
happens without CUDA, runs every block that makes sense there with the demonstration model, to see
that the report works; its figures say nothing.
"""

import argparse
import importlib
import platform
import shutil
import warnings
from pathlib import Path

import torch

from bench._machine import describe
from bench.engine import software, use_device
from bench.gpu.critical import measure_critical
from bench.gpu.faults import measure_faults
from bench.gpu.goals import judge
from bench.gpu.parity import measure_parity
from bench.gpu.phases import measure_phases
from bench.gpu.products import measure_products
from bench.gpu.report import Block, Note, Report, Value, say
from bench.gpu.setting import Setting
from bench.gpu.throughput import (
    free,
    measure_compiled,
    measure_eager,
    measure_formats,
    measure_throughput,
)


def measure_environment(setting: Setting, note: Note) -> None:
    """Tell what computes."""
    note("machine", describe(), is_shown=True)
    note("software", software(setting.device), is_shown=True)
    note("python", platform.python_version())
    note("compilers", ", ".join(filter(shutil.which, ("g++", "gcc", "nvcc"))) or "none")
    if not setting.is_cuda:
        return
    properties = torch.cuda.get_device_properties(setting.device)
    free_bytes, total = torch.cuda.mem_get_info(setting.device)
    note("CUDA", torch.version.cuda or "none: another maker's device", is_shown=True)
    note("capability", f"{properties.major}.{properties.minor}")
    note("multiprocessors", properties.multi_processor_count)
    note("memory free, GiB", free_bytes / 2**30)
    note("memory, GiB", total / 2**30)


def measure_worker(setting: Setting, note: Note) -> None:
    """Leave it to its module, which needs packages that are not wherever torch is."""
    importlib.import_module("bench.gpu.worker").measure_worker(setting, note)


#: What is worth most comes first: the time of all of them together is bounded.
BLOCKS = (
    Block("environment", measure_environment, 30),
    Block("parity", measure_parity, 130),
    Block("throughput", measure_throughput, 120),
    Block("eager", measure_eager, 30),
    Block("phases", measure_phases, 60),
    Block("critical", measure_critical, 60),
    Block("products", measure_products, 40),
    Block("worker", measure_worker, 120),
    Block("faults", measure_faults, 60),
    Block("compile", measure_compiled, 120),
    Block("formats", measure_formats, 60),
)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="bench.gpu_report", description=__doc__.split("\n\n")[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--quick", action="store_true", help="see that it works, on any machine")
    parser.add_argument("--out", type=Path, help="JSON file")
    parser.add_argument("--limit", type=float, default=520, help="seconds for all blocks")
    parser.add_argument("--only", help=f"blocks, with commas: {','.join(b.name for b in BLOCKS)}")
    return parser.parse_args()


def main() -> None:
    """Run the blocks, then print the table and the verdicts."""
    args = parse()
    warnings.simplefilter("ignore")  # of libraries, which would tear the table
    device = use_device(args.device)
    setting = Setting(device, is_quick=args.quick or device.type != "cuda")
    if setting.is_quick:
        torch.set_num_threads(1)  # a machine that is busy otherwise would make them wait
    head: dict[str, Value] = {"device": software(device), "is_quick": setting.is_quick}
    report = Report(head, args.out, args.limit)
    wanted = args.only.split(",") if args.only else [block.name for block in BLOCKS]
    for block in BLOCKS:
        if block.name in wanted:
            report.run(block, setting)
            free(setting)
    verdicts = judge(report.outcomes, setting.slots, setting.tokens)
    report.show(verdicts)
    report.write(verdicts)
    if setting.is_quick:
        say("\nThis was a trial of the report: its figures say nothing about a device.")


if __name__ == "__main__":
    main()
