"""What the options need of this machine besides the model's files: packages, a processor.

Looked at before gigabytes are loaded, and by `doctor`.
"""

import torch

from engine.protocol import ModelOptions
from moondream2.errors import QuantizeError
from moondream2.int8 import can_shrink, check_processor
from moondream2.quantize import check_format


def check_requirements(options: ModelOptions, device: torch.device, dtype: torch.dtype) -> None:
    """See that a model can be loaded in this form.

    Args:
        options: What is wanted.
        device: Where.
        dtype: In which.

    Raises:
        QuantizeError: The weights cannot be held in the wanted format here, or not compiled.
    """
    if options.quantization == "int8" and device.type == "cpu":
        check_processor()
        if options.compile:  # the passes are captured whole, and 8-bit kernels cannot be
            raise QuantizeError(
                "model.compile does not go with int8 on a CPU, which is faster without: set it to "
                "false, or model.quantization to none"
            )
    elif options.quantization in ("int8", "int4"):
        check_format(options.quantization, device, dtype)


def may_shrink(options: ModelOptions, device: torch.device) -> bool:
    """Whether `model.quantization: int8` beside these options would be accepted on a CPU."""
    return device.type == "cpu" and can_shrink() and not options.compile
