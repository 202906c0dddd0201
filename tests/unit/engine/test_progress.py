from engine.progress import DownloadProgress, duration, size

GB, MB = 10**9, 10**6


class Told:
    """Looks once a second of a clock that the test turns."""

    def __init__(self) -> None:
        self.now = 100.0
        self.lines: list[tuple[str, float | None]] = []
        self.progress = DownloadProgress(self._take, lambda: self.now)

    def _take(self, message: str, share: float | None) -> None:
        self.lines.append((message, share))

    def second(self, file: str, done: float, total: float) -> None:
        self.now += 1.0
        self.progress.tell(file, int(done), int(total))
        self.progress.look()


def test_share_rate_and_time_left_are_said() -> None:
    told = Told()
    for number in range(10):
        told.second("model.safetensors", 1.6 * GB + number * 12 * MB, 3.8 * GB)
    message, share = told.lines[-1]
    assert message == "downloading model: 44 % of 3.8 GB, 12 MB/s, 3 min left"
    assert share is not None
    assert 0.44 <= share < 0.45


def test_what_was_there_before_a_resumed_download_is_no_rate() -> None:
    told = Told()
    told.second("model.safetensors", 3 * GB, 3.8 * GB)
    told.second("model.safetensors", 3 * GB + 8 * MB, 3.8 * GB)
    assert told.lines[-1][0] == "downloading model: 79 % of 3.8 GB, 8.0 MB/s, 2 min left"


def test_silence_is_said_once_and_its_end_too() -> None:
    told = Told()
    told.second("model.safetensors", 1 * GB, 4 * GB)
    told.second("model.safetensors", 1.1 * GB, 4 * GB)
    for _ in range(600):
        told.now += 1.0
        told.progress.look()
    silent = "downloading model: 27 % of 4.0 GB, nothing has come for 10 s; trying on"
    assert [line for line in told.lines if "nothing" in line[0]] == [(silent, None)]
    told.second("model.safetensors", 1.2 * GB, 4 * GB)
    assert told.lines[-1][0].startswith("downloading model: 30 % of 4.0 GB, ")


def test_shard_is_named_and_a_size_that_is_not_known_is_left_out() -> None:
    told = Told()
    told.second("model-00001-of-00002.safetensors", 5 * MB, 0)
    told.second("model-00001-of-00002.safetensors", 10 * MB, 0)
    assert told.lines[-1][0] == "downloading model-00001-of-00002.safetensors: 10 MB, 5.0 MB/s"


def test_thread_looks_while_it_is_entered() -> None:
    lines: list[str] = []
    with DownloadProgress(lambda message, _: lines.append(message)) as progress:
        progress.tell("model.safetensors", 5, 10)
        progress._is_over.wait(1.2)  # it looks once a second
        progress.tell("model.safetensors", 10, 10)
    assert lines[0] == "downloading model: 50 % of 10 B"


def test_sizes_and_times_are_for_people() -> None:
    assert [size(each) for each in (12, 3_800_000_000, 43_000_000, 9_540)] == [
        "12 B",
        "3.8 GB",
        "43 MB",
        "9.5 kB",
    ]
    assert [duration(each) for each in (0.2, 59, 200, 7200)] == ["1 s", "59 s", "3 min", "2 h"]
