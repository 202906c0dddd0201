from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from service.folders.names import shown, taken_at

CHANGED = datetime(2030, 1, 1, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("path", "local"),
    [
        ("FI9900P_00626E/snap/MDAlarm_20180914-111429.jpg", (2018, 9, 14, 11, 14, 29)),
        ("FI9900P_00626E/record/alarm_20231127_200437.mkv", (2023, 11, 27, 20, 4, 37)),
        ("cam/2019-05-09/001/jpg/06/07/27[M][0@0][0].jpg", (2019, 5, 9, 6, 7, 27)),
        ("cam/2019-05-09/001/jpg/06/07.27[M][0@0][0].jpg", (2019, 5, 9, 6, 7, 27)),
        ("cam/2019-05-09/001/dav/06/06.07.27-06.07.52[M][0@0][0].mp4", (2019, 5, 9, 6, 7, 27)),
        ("192.168.1.64_01_20190827095800502_MOTION_DETECTION.jpg", (2019, 8, 27, 9, 58, 0)),
        ("2024/06/05/Door_00_20240605152917.mp4", (2024, 6, 5, 15, 29, 17)),
        ("2021Y07M05D14H/11M10S50.mp4", (2021, 7, 5, 14, 11, 10)),
        ("garage/2026-11-21T22-23-24.jpg", (2026, 11, 21, 22, 23, 24)),
    ],
)
def test_time_of_a_camera_s_layout(path: str, local: tuple[int, ...]) -> None:
    year, month, day, hour, minute, second = local
    expected = datetime(year, month, day, hour, minute, second, tzinfo=BERLIN)
    assert taken_at(path, CHANGED, BERLIN) == expected


@pytest.mark.parametrize(
    "path",
    [
        "snapshot.jpg",
        "cam/20261399-250000.jpg",
        "x_20990101_000000.jpg",
        "12345678901234567890.jpg",
    ],
)
def test_path_without_a_time_has_the_file_s(path: str) -> None:
    assert taken_at(path, CHANGED, None) == CHANGED


def test_shown_path_is_one_line_of_bounded_text() -> None:
    text = shown("a\nb\x1b[1m\udcff" + "x" * 1000)
    assert text.isprintable()
    assert len(text) == 512
    text.encode()
    assert shown("Tür [M].jpg") == "Tür [M].jpg"
