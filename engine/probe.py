"""The child behind `doctor`: `python -m engine.probe` prints what torch can compute on.

One JSON object on stdout: `torch`, its version; `cuda`, a list of `{name, free}`, bytes;
`threads`, the CPU threads it would use.
"""

import json
import sys

import torch


def main() -> None:
    """Print the devices."""
    gpus = []
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free, _ = torch.cuda.mem_get_info(number)
        gpus.append({"name": torch.cuda.get_device_name(number), "free": free})
    found = {"torch": torch.__version__, "cuda": gpus, "threads": torch.get_num_threads()}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
