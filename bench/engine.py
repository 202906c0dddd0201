"""How fast the engine answers, and how far that is from what the machine could do.

    python -m bench.engine --size full --batches 1,8 --tokens 16

Every batch is that many captions of noise, submitted at once. The floor is the time that the
arithmetic and the memory traffic of a frame need at the rates this machine reaches in one large
matrix product and one large read, both measured in the same run; a share of 1 would be perfect.
The comparison, in the line `eager`, is an engine with one slot, without graphs and with the weights
as they were loaded, which answers frame after frame; the other lines have what a service has.
"""

import argparse
import os
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from PIL import Image
from torch import nn

from bench._machine import describe
from moondream2.config import MoondreamConfig, public_config
from moondream2.crops import Crops, prepare
from moondream2.fused import can_fuse, fuse_layers
from moondream2.generate import Engine
from moondream2.int8 import shrink_linears
from moondream2.model import Moondream
from moondream2.packed import can_pack, pack_linears
from moondream2.tasks import Caption, Event, Finished, Request
from moondream2.tokens import Tokenizer

DEMO = Path(__file__).parents[1] / "demo" / "model"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Wordless(Tokenizer):
    """Stands in for a vocabulary that random weights do not need: captions have fixed prompts."""

    def __init__(self, config: MoondreamConfig) -> None:
        self.config = config

    def decode(self, ids: object) -> str:
        """Return nothing."""
        return ""


@dataclass
class Passes:
    """What the passes of one step were, as the engine tells them."""

    num_crops: int = 0
    num_tokens: int = 0

    def __call__(self, kind: str, size: int) -> None:
        """Count one pass."""
        if kind == "encode":
            self.num_crops += size
        else:
            self.num_tokens += size


@dataclass
class Run:
    """Figures of one batch."""

    batch: int
    num_crops: int
    seconds: float = 0.0
    num_tokens: int = 0
    first_tokens: list[float] = field(default_factory=list)
    #: (tokens, seconds) of every step that did nothing but generate.
    decode: list[tuple[int, float]] = field(default_factory=list)
    #: Seconds of every step that encoded, with its crops.
    encode: list[tuple[int, float]] = field(default_factory=list)

    @property
    def images_per_s(self) -> float:
        """Frames a second, from submission to the last answer."""
        return self.batch / self.seconds

    @property
    def decode_per_s(self) -> float:
        """Tokens a second while as many rows as possible generate."""
        most = max((tokens for tokens, _ in self.decode), default=0)
        times = [seconds for tokens, seconds in self.decode if tokens == most]
        return most / statistics.median(times) if times else 0.0


def use_device(name: str) -> torch.device:
    """Make a device the one that all work is launched on.

    What is made without a name, as graphs are, is on the current device, not on the named one.
    """
    device = torch.device(name)
    if device.type == "cuda":
        device = torch.device("cuda", device.index or 0)
        torch.cuda.set_device(device)
    return device


def shortened(config: MoondreamConfig, layers: int | None) -> MoondreamConfig:
    """Return the dimensions of a model with so many layers in each network, or all it has."""
    if layers is None:
        return config
    text = replace(config.text, layers=min(layers, config.text.layers))
    vision = replace(config.vision, layers=min(layers, config.vision.layers))
    return replace(config, text=text, vision=vision)


def random_model(config: MoondreamConfig, device: torch.device, dtype: torch.dtype) -> Moondream:
    """Build a model in its dtype at once, from one block of noise; it never stops by itself.

    As in a trained model, activations neither vanish nor grow on their way: the cost of some
    kernels, and what rounding does, depends on the numbers.
    """
    with torch.device("meta"):
        model = Moondream(config)
    model = model.to(dtype).to_empty(device=device).eval().requires_grad_(False)
    block = torch.randn(1 << 22, device=device)
    for parameter in model.parameters():
        flat, scale = parameter.view(-1), parameter.shape[-1] ** -0.5
        scaled = (block[: len(flat)] * scale).to(dtype)
        for part in torch.split(flat, len(scaled)):
            part.copy_(scaled[: len(part)])
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.weight.fill_(1)
            module.bias.zero_()
    model.text.lm_head.bias[config.tokens.eos] = -1e4
    return model


def noise(width: int, height: int) -> Image.Image:
    """Return a picture that no resampling makes cheaper."""
    pixels = torch.randint(256, (height, width, 3), dtype=torch.uint8)
    return Image.fromarray(pixels.numpy())


def measure(engine: Engine, passes: Passes, frames: list[Crops], tokens: int) -> Run:
    """Answer all frames, submitted at once."""
    run = Run(len(frames), sum(map(len, frames)))
    started_at = time.perf_counter()
    for index, crops in enumerate(frames):
        task = (Caption("normal"),)
        engine.submit(Request(str(index), (0.0, index), crops, task, max_tokens=tokens))
    while engine.has_work:
        passes.num_crops = passes.num_tokens = 0
        before = time.perf_counter()
        events = engine.step()
        seconds = time.perf_counter() - before
        _note(run, passes, events, seconds)
    run.seconds = time.perf_counter() - started_at
    return run


def _note(run: Run, passes: Passes, events: list[Event], seconds: float) -> None:
    """Book one step."""
    if passes.num_crops:
        run.encode.append((passes.num_crops, seconds))
    else:
        run.decode.append((passes.num_tokens, seconds))
    for event in events:
        if isinstance(event, Finished):
            (answer,) = event.answers
            run.num_tokens += len(getattr(answer, "token_ids", ()))
            run.first_tokens.append(event.timings.first_token_seconds)


@dataclass(frozen=True)
class Cost:
    """Arithmetic and traffic of one model, from its dimensions."""

    config: MoondreamConfig
    itemsize: int

    def encode_flops(self, num_crops: int, num_frames: int) -> float:
        """Of crops through the encoder, and of frames through projector and prefix."""
        v, t = self.config.vision, self.config.text
        tokens, width, length = v.tokens, v.hidden_size, t.prefix_length
        linear = v.patch_values * width + v.layers * (4 * width**2 + 2 * width * v.mlp_size)
        crop = 2 * tokens * linear + 4 * tokens**2 * width * v.layers
        projector = 2 * tokens * v.projector_hidden_size * (2 * width + t.hidden_size)
        attention = 4 * length**2 * t.heads * t.head_dim * t.layers
        prefix = 2 * length * self._text_weights() + attention
        return float(num_crops * crop + num_frames * (projector + prefix))

    def decode_flops(self, rows: int, context: int) -> float:
        """Of one step."""
        t = self.config.text
        attention = 4 * context * t.heads * t.head_dim * t.layers
        return float(rows * (2 * (self._text_weights() + self._head_weights()) + attention))

    def decode_bytes(self, rows: int, context: int) -> float:
        """Read in one step: the weights once, the keys and values of every row."""
        t = self.config.text
        row = 2 * context * t.kv_heads * t.head_dim * t.layers
        return float(self.itemsize * (self._text_weights() + self._head_weights() + rows * row))

    def _text_weights(self) -> int:
        t = self.config.text
        qkv = t.hidden_size * (t.heads + 2 * t.kv_heads) * t.head_dim
        out = t.heads * t.head_dim * t.hidden_size
        return t.layers * (qkv + out + 2 * t.hidden_size * t.mlp_size)

    def _head_weights(self) -> int:
        return self.config.text.hidden_size * self.config.text.vocab_size


@dataclass(frozen=True)
class Machine:
    """Rates the machine reaches when nothing is in the way."""

    flops: float
    bytes_per_s: float

    @classmethod
    def probe(
        cls, device: torch.device, dtype: torch.dtype, *, is_rough: bool = False
    ) -> "Machine":
        """Measure them; roughly takes a hundredth of the time and of the memory."""
        size = 8192 if device.type == "cuda" else 512 if is_rough else 2048
        a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        flops = 2 * size**3 / _best(lambda: a @ b, device)
        # Far beyond any cache, unless it is to be quick.
        data = torch.ones(1 << (22 if is_rough else 28), device=device, dtype=torch.int32)
        return cls(flops, data.nbytes / _best(lambda: data.amax(), device))

    def floor(self, run: Run, cost: Cost) -> float:
        """Seconds that encoding and generating a batch take at these rates."""
        context = cost.config.text.prefix_length + 5 + run.num_tokens // max(1, 2 * run.batch)
        step = max(
            cost.decode_bytes(run.batch, context) / self.bytes_per_s,
            cost.decode_flops(run.batch, context) / self.flops,
        )
        encode = cost.encode_flops(run.num_crops, run.batch) / self.flops
        return encode + step * run.num_tokens / run.batch


def _best(work: Callable[[], object], device: torch.device) -> float:
    """Return the shortest of some runs, in seconds."""
    times = []
    for _ in range(6):
        started_at = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started_at)
    return min(times)


def peak_gib(device: torch.device) -> float:
    """Most memory so far: of the device, or of this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def software(device: torch.device) -> str:
    """Name what computes, and how busy the machine already is."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    load = os.getloadavg()[0]
    return f"{name}, torch {torch.__version__}, {torch.get_num_threads()} threads, load {load:.1f}"


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="bench.engine", description=__doc__.split("\n\n")[0])
    parser.add_argument("--size", default="demo", help="full, demo, or a model folder")
    parser.add_argument(
        "--layers", type=int, help="of each network of a full model, fewer than it has"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--dtype", choices=[*DTYPES, "int8"], help="default: float32 for demo on a CPU"
    )
    parser.add_argument("--batches", default="1,2,4,8,16,32,64")
    parser.add_argument("--tokens", type=int, default=32, help="most tokens of a caption")
    parser.add_argument("--image", default="1280x720", help="WIDTHxHEIGHT of the frames")
    parser.add_argument("--max-crops", type=int, help="most local crops of a frame")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each batch, best is shown")
    return parser.parse_args()


def main() -> None:
    """Print one line for each batch."""
    args = parse()
    if args.threads:
        torch.set_num_threads(args.threads)
    device = use_device(args.device)
    is_small = args.size == "demo" and device.type == "cpu"
    wanted = args.dtype or ("float32" if is_small else "bfloat16")
    # Shrunk from what takes the least memory; what is not shrunk ends in float32.
    dtype = DTYPES["bfloat16" if wanted == "int8" else wanted]
    print(describe())
    print(software(device))
    if args.size == "full":
        model = random_model(shortened(public_config(), args.layers), device, dtype)
        tokenizer: Tokenizer = Wordless(model.config)
    else:
        folder = DEMO if args.size == "demo" else Path(args.size)
        model = Moondream.load(folder, device=device, dtype=dtype)
        tokenizer = Tokenizer.load(folder / "tokenizer.json", model.config)
    if wanted == "int8":
        shrink_linears(model)
        dtype = model.dtype
    machine = Machine.probe(device, dtype)
    print(
        f"{machine.flops / 1e9:,.0f} GFLOPS in products, {machine.bytes_per_s / 1e9:,.0f} GB/s read"
    )
    width, height = map(int, args.image.split("x"))
    crops = prepare(noise(width, height), model.config.vision, args.max_crops)
    size = args.size if args.layers is None else f"{args.size} of {args.layers} layers"
    print(f"{size}, {wanted}, {args.image}: {len(crops)} crops, {args.tokens} tokens")
    compare(args, model, tokenizer, crops, machine)


def compare(
    args: argparse.Namespace,
    model: Moondream,
    tokenizer: Tokenizer,
    crops: Crops,
    machine: Machine,
) -> None:
    """Measure one by one, then every batch."""

    def best(batch: int, *, graphs: bool) -> Run:
        passes = Passes()
        engine = Engine(model, tokenizer, slots=batch, graphs=graphs, beside=graphs, watch=passes)
        measure(engine, passes, [crops], 2)  # warm-up
        frames = [crops] * batch
        runs = [measure(engine, passes, frames, args.tokens) for _ in range(args.repeats)]
        return min(runs, key=lambda run: run.seconds)

    cost = Cost(model.config, model.dtype.itemsize)

    def show(name: str, run: Run, eager: Run) -> None:
        firsts = sorted(run.first_tokens)
        print(
            f"{name:>5} {run.images_per_s:9.3f} {run.images_per_s / eager.images_per_s:5.2f} "
            f"{run.decode_per_s:9.1f} {run.decode_per_s / eager.decode_per_s:5.2f} "
            f"{firsts[0]:12.2f} {statistics.median(firsts):8.2f} "
            f"{machine.floor(run, cost) / run.seconds:6.2f} {peak_gib(model.device):9.1f}",
            flush=True,
        )

    print("batch  images/s     ×  tokens/s     ×  first token s: min, median  floor  peak GiB")
    eager = best(1, graphs=False)
    show("eager", eager, eager)
    if can_pack(model):
        pack_linears(model)
    if can_fuse(model.device, model.dtype):
        fuse_layers(model)
    for batch in map(int, args.batches.split(",")):
        run = best(batch, graphs=True)
        show(str(batch), run, eager)
        times = [seconds for _, seconds in run.encode]
        print(f"      encoded in {len(times)} steps of {min(times):.3f} to {max(times):.3f} s")


if __name__ == "__main__":
    main()
