"""From options to a running model: choose device and dtype, find the files, load, warm up."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from engine.progress import DownloadProgress, ReportShare
from engine.protocol import ModelOptions
from moondream2.crops import prepare
from moondream2.generate import Engine
from moondream2.hub import Hub, resolve
from moondream2.int8 import load_int8
from moondream2.model import Moondream
from moondream2.packed import can_pack, pack_linears
from moondream2.passes import Watch
from moondream2.quantize import quantize_weights
from moondream2.tasks import Caption, Request
from moondream2.tokens import Tokenizer

logger = logging.getLogger(__name__)

Report = Callable[[str], None]


class DeviceError(Exception):
    """The wanted device or number format is not there; it may come, as when a driver is slow."""

    code = "device_unavailable"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model ready for jobs."""

    engine: Engine
    name: str
    revision: str
    device: torch.device
    dtype: torch.dtype
    quantization: str  #: of the weights: `none`, `int8`, `int4`


def load(
    options: ModelOptions,
    report: Report,
    watch: Watch | None = None,
    report_download: ReportShare | None = None,
) -> Loaded:
    """Load a model, downloading what is missing if that is allowed.

    Args:
        options: What to load.
        report: Told of each step.
        watch: Passed to the engine.
        report_download: Told how a download gets on, every second; None: `report` is.

    Raises:
        MoondreamError: Files are missing, damaged or of another model.
        DeviceError: The device is not there.
        torch.OutOfMemoryError: It is too small.
    """
    device = choose_device(options.device)
    dtype = choose_dtype(options.dtype, device)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    if not Path(options.name).expanduser().is_dir():
        report(f"looking for the model {options.name}")
    with DownloadProgress(report_download or (lambda message, _: report(message))) as progress:
        hub = Hub(download=options.download, progress=progress.tell)
        files = resolve(options.name, options.revision, hub=hub)
    is_int8 = device.type == "cpu" and options.quantization == "int8"
    kind = "int8" if is_int8 else name_of(dtype)
    report(f"loading the model {files.name} to {device} as {kind}")
    if is_int8:
        model, dtype = load_int8(files.folder, revision=files.release), torch.float32
    else:
        model = Moondream.load(files.folder, device=device, dtype=dtype, revision=files.release)
        if options.quantization is not None:
            report(f"shrinking the weights to {options.quantization}")
            quantize_weights(model, options.quantization)
    tokenizer = Tokenizer.load(files.tokenizer_file, model.config)
    if can_pack(model) and not options.compile:
        report("packing the weights for this processor")
        pack_linears(model)
    engine = Engine(model, tokenizer, slots=options.slots, compiled=options.compile, watch=watch)
    if options.compile or device.type == "cuda":
        report("warming up")
        warm_up(engine)
    quantization = options.quantization or "none"
    return Loaded(engine, files.name, files.revision, device, dtype, quantization)


def choose_device(wanted: str) -> torch.device:
    """Make a device of a setting; `auto` is the first CUDA device if there is one.

    Raises:
        DeviceError: There is no such device.
    """
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise DeviceError(f"{wanted!r} is not a device, use cpu, cuda or cuda:N") from error
    if device.type == "cpu":
        return torch.device("cpu")
    if device.type != "cuda":
        raise DeviceError(f"{wanted!r} is not a device this runs on, use cpu, cuda or cuda:N")
    index = device.index or 0
    if not torch.cuda.is_available() or index >= torch.cuda.device_count():
        raise DeviceError(f"no CUDA device {index} here; is its driver loaded?")
    torch.cuda.set_device(index)
    return torch.device("cuda", index)


def choose_dtype(wanted: str, device: torch.device) -> torch.dtype:
    """Make a dtype of a setting; `auto` is bfloat16 where the device has instructions for it.

    A CUDA device without them gets float16, a CPU float32.
    """
    if wanted != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[
            wanted
        ]
    if device.type == "cuda":
        has_bfloat16 = torch.cuda.get_device_capability(device) >= (8, 0)
        return torch.bfloat16 if has_bfloat16 else torch.float16
    features = torch.cpu.get_capabilities()
    has_bfloat16 = any(features.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return torch.bfloat16 if has_bfloat16 else torch.float32


def name_of(dtype: torch.dtype) -> str:
    """The name as in the settings, e.g. `bfloat16`."""
    return str(dtype).removeprefix("torch.")


def warm_up(engine: Engine) -> None:
    """Answer one grey frame, so that kernels are compiled and chosen before the first job."""
    config = engine.model.config
    side = config.vision.crop_size * 2
    crops = prepare(Image.new("RGB", (side, side), "grey"), config.vision)
    length = next(iter(config.prompts.caption))
    engine.submit(Request("warm-up", (0.0,), crops, (Caption(length),), max_tokens=8))
    while engine.has_work:
        engine.step()
