import logging
from typing import Any

import pytest

from engine.protocol import LoadFailed, Loading, Ready
from service.engines.load_log import LoadLog


class Site:
    """A log with a clock that the test turns."""

    def __init__(self) -> None:
        self.now = 0.0
        self.log = LoadLog(lambda: self.now)


@pytest.fixture
def site(caplog: pytest.LogCaptureFixture) -> Site:
    caplog.set_level(logging.INFO, "service.engines.load_log")
    return Site()


def make_ready(**fields: Any) -> Ready:
    values = {"device": "cpu", "capacity": 1, "load_seconds": 1.0, "vram_mb": 0.0, "ram_mb": 0.0}
    some = {"dtype": "float32", "can_shrink": True}
    return Ready("moondream2", "main", **{**values, **some, **fields})


def test_download_is_a_line_for_each_twentieth(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.log.step(Loading("looking for the model"))
    for second in range(316):  # 3.8 GB at 12 MB/s
        site.now = float(second)
        site.log.step(Loading(f"downloading model: second {second}", second / 316))
    site.log.step(Loading("loading the model"))
    assert caplog.messages[0] == "looking for the model"
    assert caplog.messages[1:3] == [f"downloading model: second {each}" for each in (0, 16)]
    assert caplog.messages[-1] == "loading the model"
    assert len(caplog.messages) == 22


def test_fast_download_is_a_line_in_five_seconds(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    for second in range(12):
        site.now = float(second)
        site.log.step(Loading(f"{second}", second / 12))
    assert caplog.messages == ["0", "5", "10"]


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({}, "ready on cpu in 14 s"),
        ({"seconds_per_frame": 2.345}, "ready on cpu in 14 s; a frame takes about 2.3 s here"),
        (
            {"seconds_per_frame": 15.2},
            "ready on cpu in 14 s; a frame takes about 15 s here: model.quantization: int8 or "
            "model.max_crops: 2 or length: short make it faster",
        ),
        (
            {"seconds_per_frame": 152.0, "max_crops": 2, "quantization": "int8"},
            "ready on cpu in 14 s; a frame takes about 152 s here with model.max_crops 2: "
            "length: short makes it faster",
        ),
    ],
)
def test_ready_says_what_a_frame_takes_and_what_would_help(
    fields: dict[str, Any], line: str, site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.log.begin()
    site.now = 14.2
    site.log.ready(make_ready(**fields))
    assert caplog.messages == [line]


def test_same_failure_is_one_line_in_ten_minutes(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    for second in range(0, 1200, 60):
        site.now = float(second)
        site.log.begin()
        site.log.failed(LoadFailed("model_download", "the hub answers 503", can_retry=True))
    line = "the model cannot be loaded: the hub answers 503; it is tried again"
    assert caplog.messages == [line, line]
    site.log.failed(LoadFailed("model_file", "config.json: no such file"))
    assert caplog.messages[-1].endswith("no such file; nothing is captioned until it can be")
