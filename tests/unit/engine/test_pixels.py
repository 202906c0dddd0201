import io
import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from engine.errors import ImageError
from engine.images import DEFAULT_LIMITS, ImageLimits
from engine.pixels import decode
from tests.support.factories import make_image, make_picture

# Set by the module itself, but pytest sets its own filters for each test.
pytestmark = pytest.mark.filterwarnings(r"ignore:::PIL")


def test_costly_images_need_little_time_and_memory() -> None:
    """One after the other in a fresh process: what the largest adds stays bounded.

    What becomes of each, and of the rest of the corpus, is asked of the whole service.
    """
    script = """
import json
import time
from engine.pixels import decode
from engine.errors import ImageError
from engine.images import DEFAULT_LIMITS
from tests.hostile.families.images import costly
found = costly()
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # forget the peak so far
def status(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name)) / 1024
before = status("VmRSS")
longest = 0.0
for specimen in found:
    begin = time.process_time()
    try:
        decode(specimen.data, DEFAULT_LIMITS)
    except ImageError:
        pass
    longest = max(longest, time.process_time() - begin)
print(json.dumps([longest, status("VmHWM") - before]))
"""
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    seconds, mib = json.loads(output.stdout)
    assert seconds < 1.0
    assert mib < 160


@pytest.mark.parametrize("orientation", range(1, 9))
def test_decode_turns_the_picture_upright(orientation: int) -> None:
    upright = make_picture(size=(64, 32))
    stored = {
        1: lambda image: image,
        2: lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: lambda image: image.rotate(180),
        4: lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: lambda image: image.transpose(Image.Transpose.TRANSPOSE),
        6: lambda image: image.rotate(90, expand=True),
        7: lambda image: image.transpose(Image.Transpose.TRANSVERSE),
        8: lambda image: image.rotate(-90, expand=True),
    }[orientation](upright)
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = decode(encode(stored, exif=exif.tobytes()), DEFAULT_LIMITS)
    assert np.array_equal(np.asarray(found), np.asarray(upright))
    assert (found.mode, found.info) == ("RGB", {})


def test_decode_scales_sixteen_bits_of_grey() -> None:
    found = decode(encode(Image.new("I;16", (32, 32), 0x80FF)), DEFAULT_LIMITS)
    assert found.getpixel((0, 0)) == (0x80, 0x80, 0x80)


def test_decode_drops_transparency_without_blending() -> None:
    found = decode(encode(Image.new("RGBA", (32, 32), (200, 100, 50, 0))), DEFAULT_LIMITS)
    assert found.getpixel((0, 0)) == (200, 100, 50)


def test_decode_takes_the_first_of_two_pictures() -> None:
    red, blue = (Image.new("RGB", (32, 32), colour) for colour in ("red", "blue"))
    found = decode(encode(red, "MPO", save_all=True, append_images=[blue]), DEFAULT_LIMITS)
    assert found.getpixel((5, 5)) == (254, 0, 0)


def test_decode_is_exact_up_to_the_limit_and_reduced_above() -> None:
    data = make_image(size=(400, 300))
    assert decode(data, ImageLimits(max_pixels_costly=400 * 300)).size == (400, 300)
    assert decode(data, ImageLimits(max_pixels_costly=400 * 300 - 1)).size == (200, 150)
    assert decode(data, ImageLimits(max_pixels_costly=200 * 150 - 1)).size == (100, 75)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_decode_damaged_files_raise_nothing_else(data: st.DataObject) -> None:
    form = data.draw(st.sampled_from(["JPEG", "PNG", "WEBP"]))
    damaged = bytearray(make_image(size=(48, 40), form=form))
    for _ in range(data.draw(st.integers(1, 20))):
        place = data.draw(st.integers(0, len(damaged) - 1))
        damaged[place] = data.draw(st.integers(0, 255))
    try:
        decode(bytes(damaged), DEFAULT_LIMITS)
    except ImageError:
        return


def encode(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()
