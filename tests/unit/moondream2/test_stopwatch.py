import time

import torch

from moondream2.stopwatch import Stopwatch


def test_stopwatch_measures_up_to_its_stop() -> None:
    watch = Stopwatch(torch.device("cpu"))
    time.sleep(0.02)
    watch.stop()
    time.sleep(0.1)
    assert 0.02 <= watch.seconds < 0.1
