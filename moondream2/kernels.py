"""Which of torch's attention kernels may run on a device."""

import torch


def choose_attention_kernels(device: torch.device) -> None:
    """Leave cuDNN's attention out on CUDA, for this process.

    From torch 2.11 on it is tried first on Hopper. It builds a plan for every new shape, 0.4 s
    each, and here shapes grow with every token, prompt and crop: each would stop the device in the
    middle of service. The flash and memory-efficient kernels take any shape as it comes.
    """
    if device.type == "cuda":
        torch.backends.cuda.enable_cudnn_sdp(False)
