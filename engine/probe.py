"""The child behind `doctor`: `python -m engine.probe OPTIONS…`, each the JSON of a `ModelOptions`.

Goes for each engine the way to its model as far as nothing big is read: device, number format, what
they need, files, heads of the weights. Prints one JSON object: `torch`, its version; `threads`, the
CPU threads it would use; `gpus`, a list of `{name, free, total}`; `engines`, an `EngineReport`
each. Never downloads.
"""

import json
import sys
from dataclasses import asdict, dataclass
from typing import Any

import torch

from engine.codec import Codec
from engine.loading import DeviceError, choose_device, choose_dtype, name_of
from engine.protocol import ModelOptions
from engine.quantization import Host, Sizes, choose_quantization, shortage
from engine.requirements import check_requirements, may_shrink
from moondream2.compiled import missing_compiler
from moondream2.config import MoondreamConfig
from moondream2.errors import MoondreamError
from moondream2.hub import ModelFiles, resolve
from moondream2.model import Moondream
from moondream2.weights import find_tensors

_OPTIONS: Codec[ModelOptions] = Codec(ModelOptions)


@dataclass(slots=True)
class EngineReport:
    """How far an engine would come."""

    device: str = ""  #: empty: it would not get one
    dtype: str = ""
    device_error: str | None = None
    folder: str = ""  #: of the model; empty: its files are not all there
    model_error: str | None = None
    num_weights: int = 0
    quantization: str = ""  #: of the weights, as it would be chosen
    shortage: str | None = None  #: what a CPU's memory has to say to that
    free_bytes: int = 0  #: of the device's memory
    compile_problem: str | None = None  #: why passes would not be compiled although they are to be
    computes_bfloat16: bool = False  #: by instructions of its own
    can_shrink: bool = False  #: it could have 8-bit weights on this CPU, with the same settings


def main() -> None:
    """Print what was found."""
    content = {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "gpus": [_gpu(number) for number in range(_num_gpus())],
        "engines": [asdict(_look(_OPTIONS.decode(text))) for text in sys.argv[1:]],
    }
    sys.stdout.write(json.dumps(content) + "\n")


def _num_gpus() -> int:
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _gpu(number: int) -> dict[str, Any]:
    free, total = torch.cuda.mem_get_info(number)
    return {"name": torch.cuda.get_device_name(number), "free": free, "total": total}


def _look(options: ModelOptions) -> EngineReport:
    report = EngineReport()
    device, dtype = torch.device("cpu"), torch.float32  # for a model whose device is not there
    try:
        device = choose_device(options.device)
        dtype = choose_dtype(options.dtype, device)
        report.device, report.dtype = str(device), name_of(dtype)
        check_requirements(options, device, dtype)
    except (DeviceError, MoondreamError) as error:
        report.device_error = _one_line(error)
    report.compile_problem = missing_compiler() if options.compile else None
    host = Host.here(device)
    report.computes_bfloat16 = choose_dtype("auto", device) == torch.bfloat16
    report.can_shrink = may_shrink(options, device)
    report.free_bytes = host.available
    if device.type == "cuda":
        report.free_bytes = torch.cuda.mem_get_info(device)[0]
    try:
        files = resolve(options.name, options.revision)
        sizes = _sizes(files)
    except MoondreamError as error:
        report.model_error = _one_line(error)
        return report
    report.folder, report.num_weights = str(files.folder), sizes.num_weights
    report.quantization = choose_quantization(
        options.quantization, options.dtype, host, sizes, is_compiled=options.compile
    )
    report.shortage = shortage(report.quantization, dtype, host, sizes)
    return report


def _sizes(files: ModelFiles) -> Sizes:
    """See that the weights are those of `config.json`, and how large they are."""
    config = MoondreamConfig.from_folder(files.folder, revision=files.release)
    with torch.device("meta"):
        model = Moondream(config)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    find_tensors(files.folder, shapes)
    return Sizes.of(config)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


if __name__ == "__main__":
    main()
