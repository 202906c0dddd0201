"""Faults on demand, so that tests meet a real process that really dies. Never set in production.

`MOONDREAM2MQTT_ENGINE_FAULT` holds faults separated by commas:

- `load_fail`       loading fails for good
- `crash:PREFIX`    the process ends when a job whose id begins so is about to run
- `segv:PREFIX`     the same by a segmentation fault
- `hang:PREFIX`     the model's loop stops there
- `stuck:PREFIX`    decoding its image never ends
- `oom:N`           the first N passes run out of memory
"""

import os
import signal
import time
from collections.abc import Mapping
from typing import NoReturn

import torch

from moondream2.errors import ModelFileError

VARIABLE = "MOONDREAM2MQTT_ENGINE_FAULT"


class Faults:
    """What the environment asks for; nothing, as a rule.

    Args:
        environment: `os.environ`.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        wanted = [fault.partition(":") for fault in environment.get(VARIABLE, "").split(",")]
        self._faults = [(kind, argument) for kind, _, argument in wanted if kind]
        self._num_oom = sum(int(argument) for kind, argument in self._faults if kind == "oom")

    def before_load(self) -> None:
        """Raise if loading shall fail."""
        if any(kind == "load_fail" for kind, _ in self._faults):
            raise ModelFileError("fault on demand: load_fail")

    def before_decode(self, key: str) -> None:
        """Never return if decoding shall not end."""
        if "stuck" in self._kinds(key):
            _sleep_for_ever()

    def before_run(self, key: str) -> None:
        """End or stop the process if this job shall do that."""
        for kind in self._kinds(key):
            if kind == "crash":
                os._exit(70)
            if kind == "segv":
                os.kill(os.getpid(), signal.SIGSEGV)
            if kind == "hang":
                _sleep_for_ever()

    def before_pass(self) -> None:
        """Raise as a device does that is out of memory."""
        if self._num_oom > 0:
            self._num_oom -= 1
            raise torch.OutOfMemoryError("fault on demand: oom")

    def _kinds(self, key: str) -> list[str]:
        job_id = key.rpartition("/")[2]
        return [kind for kind, prefix in self._faults if prefix and job_id.startswith(prefix)]


def _sleep_for_ever() -> NoReturn:
    while True:
        time.sleep(3600)
