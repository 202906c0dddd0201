"""What takes too long for every change: kills, hostile messages in every way, and hours of load.

    kills    the service is killed at twenty random moments while 2,000 frames arrive
    hostile  every hostile message with both versions of MQTT at every QoS, each judged
    load     frames for some minutes, while everything goes wrong that can, and floods on top

The engine has no model: it is not what is asked about here. With `--memory` nothing goes wrong
instead: frames come at a steady rate, and a line is drawn through the memory of the service.

Ends with 1 when a frame was lost or has more than one end, an answer is wrong, a message broke who
read it, or memory is not shown to be flat.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from bench._machine import describe
from tests.hostile.corpus import corpus
from tests.hostile.run import try_all
from tests.soak.kills import kill_at_random
from tests.soak.load import under_load
from tests.soak.memory import Plan, watch_memory

_PARTS = ("kills", "hostile", "load")


def parser() -> argparse.ArgumentParser:
    """What can be asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", type=_part, metavar="PART", help="none: all")
    parser.add_argument("--minutes", type=float, default=10.0, help="of load")
    parser.add_argument("--rate", type=float, default=20.0, help="frames a second, floods apart")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--memory",
        type=float,
        metavar="SECONDS",
        help="only measure how fast memory grows, for so long after the warm-up",
    )
    parser.add_argument("--warm-up", type=float, default=600.0, metavar="SECONDS")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="for the samples of --memory")
    parser.add_argument("--every", type=float, default=10.0, metavar="SECONDS", help="a sample")
    return parser


def _part(name: str) -> str:
    if name not in _PARTS:
        raise argparse.ArgumentTypeError(f"no part is called {name}: {', '.join(_PARTS)}")
    return name


def main() -> None:
    """Soak for a while."""
    sys.exit(0 if asyncio.run(_run(parser().parse_args())) else 1)


async def _run(arguments: argparse.Namespace) -> bool:
    """Run what was asked for, all of it; whether every promise was kept."""
    rate, seed = arguments.rate, arguments.seed
    if arguments.memory is not None:
        warm_up, path, every = arguments.warm_up, arguments.csv, arguments.every
        return await watch_memory(Plan(arguments.memory, warm_up, rate, seed, path, every))
    print(describe())
    parts: dict[str, Callable[[], Awaitable[bool]]] = {
        "kills": lambda: kill_at_random(seed),
        "hostile": _send_corpus,
        "load": lambda: under_load(arguments.minutes, rate, seed),
    }
    verdicts = []
    for name in arguments.parts or _PARTS:
        print(f"== {name}", flush=True)
        verdicts.append(await parts[name]())
    return all(verdicts)


async def _send_corpus() -> bool:
    with tempfile.TemporaryDirectory() as folder:
        report = await try_all(Path(folder), corpus(), is_full=True)
    print(report, flush=True)
    return report.is_clean


if __name__ == "__main__":
    main()
