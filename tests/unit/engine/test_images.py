import time

import pytest

from engine.errors import ImageError
from engine.images import DEFAULT_LIMITS, ImageHeader, ImageLimits, inspect
from service.settings import FrameSettings
from tests.hostile.families.images import costly
from tests.support.factories import make_image


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_inspect_reads_format_and_size(form: str) -> None:
    header = inspect(make_image(size=(321, 123), form=form))
    assert (header.format, header.width, header.height) == (form, 321, 123)


@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("size", [(16, 16), (1000, 17), (8192, 16)])
def test_inspect_webp_sizes_of_both_codings(lossless: bool, size: tuple[int, int]) -> None:
    header = inspect(make_image(size=size, form="WEBP", lossless=lossless))
    assert (header.width, header.height) == size


def test_inspect_progressive_is_costly_baseline_is_not() -> None:
    assert not inspect(make_image()).is_costly
    assert inspect(make_image(progressive=True)).is_costly


def test_inspect_baseline_in_several_scans_is_costly() -> None:
    # Rewrites the one scan of three components as a scan of the first only.
    data = bytearray(make_image(size=(64, 64)))
    scan = data.index(b"\xff\xda")
    length = int.from_bytes(data[scan + 2 : scan + 4])
    data[scan : scan + 2 + length] = b"\xff\xda\0\x08\x01\x01\0\0\x3f\0"
    assert inspect(bytes(data)) == ImageHeader("JPEG", 64, 64, is_costly=True)


def test_inspect_limits_are_inclusive() -> None:
    data = make_image(size=(100, 50))
    limits = ImageLimits(
        max_bytes=len(data), max_pixels=5000, max_pixels_costly=1, max_side=100, min_side=50
    )
    inspect(data, limits)
    with pytest.raises(ImageError) as caught:
        inspect(data + b"\0", limits)
    assert caught.value.code == "too_many_bytes"


def test_inspect_thumbnail_in_exif_is_not_taken_for_the_picture() -> None:
    thumbnail = make_image(size=(160, 120), progressive=True)
    segment = b"Exif\0\0" + thumbnail
    data = make_image(size=(640, 480))
    marked = data[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2) + segment + data[2:]
    assert inspect(marked) == ImageHeader("JPEG", 640, 480, is_costly=False)
    with pytest.raises(ImageError) as caught:  # its end of image is not the picture's
        inspect(marked[:-2])
    assert caught.value.code == "image_truncated"


def test_inspect_is_fast_enough_for_the_event_loop() -> None:
    worst = 0.0
    for specimen in costly():
        begin = time.perf_counter()
        for _ in range(3):
            try:
                inspect(specimen.data)
            except ImageError:
                continue
        worst = max(worst, (time.perf_counter() - begin) / 3)
    assert worst < 0.01  # some 1 ms: a JPEG of 4 MiB whose scans are counted


def test_limits_have_the_names_and_defaults_of_the_settings() -> None:
    assert ImageLimits(**FrameSettings().model_dump()) == DEFAULT_LIMITS
