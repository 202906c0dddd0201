"""How a download gets on, in words: share, rate, time left, and when nothing comes any more.

The library calls back for every chunk, or rarely, or not at all when the hub is stuck. So the calls
only count, and a thread of its own looks at the counts once a second.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

#: Told how it gets on, and the share that is done, 0..1; None: that it does not get on.
ReportShare = Callable[[str, float | None], None]

_LOOK_EVERY_S = 1.0
_RATE_OVER_S = 15.0  # shorter, and the time left jumps; longer, and a change of pace shows late
_SILENT_S = 10.0  # from here on it is said that nothing comes: as long as the library itself waits


class DownloadProgress:
    """Reports on the files of a model, one after the other; enter it while they are fetched.

    Args:
        report: Told at most once a second, and no more while nothing comes: then once.
        monotonic: Seconds.
    """

    def __init__(
        self, report: ReportShare, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._report = report
        self._monotonic = monotonic
        self._is_over = threading.Event()
        self._file, self._done, self._total = "", 0, 0
        self._samples: deque[tuple[float, int]] = deque()  # when, and bytes until then
        self._moved_at = 0.0
        self._told = ""

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_over.set()
        self._thread.join()

    def tell(self, file: str, done: int, total: int) -> None:
        """Note how much of a file is here, in bytes; a total of 0 is not known. From any thread."""
        now = self._monotonic()
        if file != self._file:
            self._samples = deque([(now, done)])  # what was there before has no rate
        if file != self._file or done != self._done:
            self._moved_at = now
        self._file, self._done, self._total = file, done, total

    def look(self) -> None:
        """Report what has changed since the last look."""
        if not self._file or (self._total and self._done >= self._total):
            return  # what is whole is followed by the next step
        now = self._monotonic()
        message = self._message(now)
        share: float | None = self._share()
        if now - self._moved_at >= _SILENT_S:
            message = f"{self._what()}, nothing has come for {_SILENT_S:.0f} s; trying on"
            share = None
        if message != self._told:
            self._told = message
            self._report(message, share)

    def _run(self) -> None:
        while not self._is_over.wait(_LOOK_EVERY_S):
            self.look()

    def _message(self, now: float) -> str:
        samples, done = self._samples, self._done
        samples.append((now, done))
        while len(samples) > 2 and now - samples[0][0] > _RATE_OVER_S:
            samples.popleft()
        since, before = samples[0]
        rate = (done - before) / (now - since) if now > since else 0.0
        if rate <= 0:
            return self._what()
        rest = f", {duration((self._total - done) / rate)} left" if self._total > done else ""
        return f"{self._what()}, {size(rate)}/s{rest}"

    def _share(self) -> float:
        return min(1.0, self._done / self._total) if self._total else 0.0

    def _what(self) -> str:
        """`downloading model: 43 % of 3.8 GB`; a shard, or a small file, by its name."""
        name = "model" if self._file == "model.safetensors" else self._file
        if not self._total:
            return f"downloading {name}: {size(self._done)}"
        return f"downloading {name}: {int(100 * self._share())} % of {size(self._total)}"


def size(num_bytes: float) -> str:
    """Bytes for people, in powers of ten as disks and networks are sold: `3.8 GB`, `12 MB`."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= factor:
            number = num_bytes / factor
            return f"{number:.1f} {unit}" if number < 10 else f"{number:.0f} {unit}"
    return f"{num_bytes:.0f} B"


def duration(seconds: float) -> str:
    """Seconds for people: `40 s`, `3 min`, `2 h`."""
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.0f} h"
