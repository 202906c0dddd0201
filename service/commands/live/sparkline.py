"""How many captions came, ten seconds by ten seconds: a curve one line high."""

BUCKET_S = 10
_MAX_BUCKETS = 60  # ten minutes; more is wider than any terminal has room for
_BARS = "▁▂▃▄▅▆▇█"


class CaptionRate:
    """Captions of the last minutes."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}  # by number of the ten seconds; the oldest first

    def count(self, monotonic: float) -> None:
        """One caption came."""
        bucket = int(monotonic // BUCKET_S)
        self._counts[bucket] = self._counts.get(bucket, 0) + 1
        while len(self._counts) > _MAX_BUCKETS:
            del self._counts[next(iter(self._counts))]

    def bars(self, monotonic: float, width: int) -> str:
        """The newest ten seconds stand right; the highest bar is the best of those shown."""
        newest = int(monotonic // BUCKET_S)
        counts = [self._counts.get(newest - i, 0) for i in reversed(range(width))]
        most = max(counts, default=0)
        if not most:
            return _BARS[0] * width
        # Rounded up: one caption is seen beside a hundred.
        return "".join(_BARS[-(-count * (len(_BARS) - 1) // most)] for count in counts)
