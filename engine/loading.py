"""From options to a running model: choose device and dtype, find the files, load, warm up."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from engine.measuring import settle
from engine.progress import DownloadProgress, ReportShare
from engine.protocol import ModelOptions
from engine.quantization import Host, Quantization, Sizes, choose_quantization, shortage
from engine.requirements import check_requirements
from moondream2.config import MoondreamConfig
from moondream2.crops import prepare
from moondream2.fused import can_fuse, fuse_gelu
from moondream2.generate import Engine
from moondream2.hub import Hub, ModelFiles, resolve
from moondream2.int8 import load_int8
from moondream2.model import Moondream
from moondream2.packed import can_pack, pack_linears
from moondream2.passes import Watch
from moondream2.quantize import quantize_weights
from moondream2.tasks import Caption, Request
from moondream2.tokens import Tokenizer

logger = logging.getLogger(__name__)

Report = Callable[[str], None]

#: Seconds of encoding in one step on a CPU. With what the step reads and generates besides, whoever
#: is more urgent waits for about two. Less would generate more often beside an encoding, for fewer
#: rows at once.
_ENCODE_LIMIT_S = 1.5
_SET_DEVICE = "set model.device to auto, cpu, cuda, cuda:N or mps"


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
    quantization: Quantization  #: of the weights
    max_crops: int  #: most local crops of a frame
    #: Of a 1280×720 frame with a caption of normal length; None: it could not be answered.
    seconds_per_frame: float | None


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
    check_requirements(options, device, dtype)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    if not Path(options.name).expanduser().is_dir():
        report(f"looking for the model {options.name}")
    with DownloadProgress(report_download or (lambda message, _: report(message))) as progress:
        hub = Hub(download=options.download, progress=progress.tell)
        files = resolve(options.name, options.revision, hub=hub)
    quantization = _choose_format(options, files, device, dtype, report)
    if device.type == "cpu" and quantization == "int8":
        model, dtype = load_int8(files.folder, revision=files.release), torch.float32
    else:
        model = Moondream.load(files.folder, device=device, dtype=dtype, revision=files.release)
        if quantization != "none":
            report(f"shrinking the weights to {quantization}")
            quantize_weights(model, quantization)
    tokenizer = Tokenizer.load(files.tokenizer_file, model.config)
    if can_pack(model) and not options.compile:
        report("packing the weights for this processor")
        pack_linears(model)
    if can_fuse(model) and not options.compile:
        fuse_gelu(model)
    engine = Engine(
        model,
        tokenizer,
        slots=options.slots,
        compiled=options.compile,
        # What was compiled is a whole pass, and cannot be left half-way.
        encode_limit_s=_ENCODE_LIMIT_S if device.type == "cpu" and not options.compile else None,
        watch=watch,
    )
    if options.compile or device.type != "cpu":
        report("warming up")
        warm_up(engine)
    report("measuring what a frame takes")
    measured = settle(
        engine,
        options.max_crops,
        options.target_seconds,
        may_choose=quantization == "int8",
        in_units=device.type == "cpu" and not options.compile,
    )
    return Loaded(
        engine,
        files.name,
        files.revision,
        device,
        dtype,
        quantization,
        measured.max_crops,
        measured.seconds_per_frame,
    )


def _choose_format(
    options: ModelOptions,
    files: ModelFiles,
    device: torch.device,
    dtype: torch.dtype,
    report: Report,
) -> Quantization:
    """Choose the format of the weights, and report it with what memory has to say to that.

    Raises:
        MoondreamError: The model's `config.json` is unusable.
    """
    host = Host.here(device)
    sizes = Sizes.of(MoondreamConfig.from_folder(files.folder, revision=files.release))
    quantization = choose_quantization(options.quantization, options.dtype, host, sizes)
    is_int8 = device.type == "cpu" and quantization == "int8"
    kind = "int8" if is_int8 else name_of(dtype)
    loading = f"loading the model {files.name} to {device} as {kind}"
    if short := shortage(quantization, dtype, host, sizes):
        logger.warning("%s %s", options.name, short)
        loading = f"{loading}, which {short}"
    report(loading)
    return quantization


def choose_device(wanted: str) -> torch.device:
    """Make a device of a setting; `auto` is the first CUDA device if there is one, else the CPU.

    `mps` is never chosen by itself: nobody has tried it on a Mac yet.

    Raises:
        DeviceError: There is no such device.
    """
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise DeviceError(f"{wanted!r} is not a device: {_SET_DEVICE}") from error
    if device.type == "cpu":
        return torch.device("cpu")
    if device.type == "mps":
        return _mps()
    if device.type != "cuda":
        raise DeviceError(f"{wanted!r} is not a device this runs on: {_SET_DEVICE}")
    index = device.index or 0
    if not torch.cuda.is_available() or index >= torch.cuda.device_count():
        raise DeviceError(f"no CUDA device {index} here; is its driver loaded? {_SET_DEVICE}")
    torch.cuda.set_device(index)
    return torch.device("cuda", index)


def _mps() -> torch.device:
    if not torch.backends.mps.is_available():
        raise DeviceError(f"no mps here, which needs a Mac with its own chip: {_SET_DEVICE}")
    logger.warning("mps has not been tried on any Mac yet: look at its captions, and tell us")
    return torch.device("mps")


def choose_dtype(wanted: str, device: torch.device) -> torch.dtype:
    """Make a dtype of a setting; `auto` is bfloat16 where the device has instructions for it.

    A CUDA device without them gets float16, and so does MPS; a CPU float32.
    """
    if wanted != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[
            wanted
        ]
    if device.type == "cuda":
        has_bfloat16 = torch.cuda.get_device_capability(device) >= (8, 0)
        return torch.bfloat16 if has_bfloat16 else torch.float16
    if device.type == "mps":
        return torch.float16
    return torch.bfloat16 if Host.here(device).has_bfloat16 else torch.float32


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
