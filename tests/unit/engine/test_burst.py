"""What the child sees of pictures."""

import io

from PIL import Image, ImageFilter

from engine.burst import look
from engine.fingerprint import fingerprint
from engine.images import DEFAULT_LIMITS
from tests.support.factories import make_image, make_picture


def encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG")
    return buffer.getvalue()


def test_look_the_sharper_the_picture_the_more_sharpness() -> None:
    picture = make_picture(3, (1280, 720))
    blurs = [picture.filter(ImageFilter.GaussianBlur(radius)) for radius in (0, 2, 5, 10)]
    found = [look(encoded(each), None, DEFAULT_LIMITS).sharpness for each in blurs]
    assert found == sorted(found, reverse=True)
    assert found[0] > 2 * found[1] > 4 * found[2]


def test_look_compares_with_the_last_captioned_picture() -> None:
    last = fingerprint(make_picture(1))
    assert look(make_image(1), last, DEFAULT_LIMITS).likeness > 0.97
    assert look(make_image(2), last, DEFAULT_LIMITS).likeness < 0.5


def test_look_tells_pictures_of_one_colour() -> None:
    for colour in ("black", "white", "#202428"):
        assert look(encoded(Image.new("RGB", (320, 240), colour)), None, DEFAULT_LIMITS).is_flat
    dark = make_picture(1).point(lambda level: level // 16)
    assert not look(encoded(dark), None, DEFAULT_LIMITS).is_flat


def test_look_damaged_picture_has_its_problem() -> None:
    image = make_image(form="PNG")
    damaged = image[:60] + bytes(len(image) - 72) + image[-12:]
    seen = look(damaged, None, DEFAULT_LIMITS)
    assert seen.problem is not None
    assert "PNG" in seen.problem or "decoded" in seen.problem
