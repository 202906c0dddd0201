"""Pictures looked at in a real child."""

import io

import pytest
from PIL import Image, ImageFilter

from engine.fingerprint import fingerprint, to_bytes
from engine.images import DEFAULT_LIMITS
from engine.sight import Seen
from service.errors import FrameError
from service.triggers.scrutiny import Scrutiny, choose
from tests.support.factories import make_image, make_picture


def encoded(image: Image.Image, form: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()


BLACK = encoded(Image.new("RGB", (640, 480), "black"))
BLURRED = encoded(make_picture(1, (640, 480)).filter(ImageFilter.GaussianBlur(4)))
SHARP = encoded(make_picture(1, (640, 480)))


async def test_look_child_sees_each_picture_in_order() -> None:
    last = to_bytes(fingerprint(make_picture(7)))
    damaged = make_image(form="PNG")[:-40] + bytes(28) + make_image(form="PNG")[-12:]
    pictures = [BLACK, BLURRED, SHARP, make_image(7), damaged]
    seen = await Scrutiny(DEFAULT_LIMITS).look(pictures, last)
    assert [each.is_flat for each in seen] == [True, False, False, False, False]
    assert seen[2].sharpness > seen[1].sharpness
    assert seen[3].likeness > 0.97 > seen[2].likeness
    assert choose(seen[:3], 0.97) == 2


async def test_look_unreadable_last_picture_is_none() -> None:
    [seen] = await Scrutiny(DEFAULT_LIMITS).look([SHARP], b"of another version")
    assert seen.likeness == 0.0


def test_only_pictures_of_few_bytes_are_worth_a_look() -> None:
    scrutiny = Scrutiny(DEFAULT_LIMITS)
    assert scrutiny.may_be_flat(BLACK)
    assert not scrutiny.may_be_flat(SHARP)


def sight(sharpness: float, likeness: float = 0.0, **fields: object) -> Seen:
    values = {"is_flat": False, "problem": None, **fields}
    return Seen(sharpness, likeness, **values)  # type: ignore[arg-type]


def test_choose_takes_the_sharpest_that_shows_something_new() -> None:
    assert choose([sight(1), sight(3), sight(2)], 0.97) == 1
    assert choose([sight(1), sight(3, 0.99), sight(2)], 0.97) == 2
    assert choose([sight(1, 0.99), sight(3, 0.98)], 0.97) == 1
    assert choose([sight(1), sight(3, 1.0)], 0.0) == 1
    assert choose([sight(1), sight(9, is_flat=True), sight(9, problem="torn")], 0.97) == 0


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        ([sight(1, is_flat=True)], "of one colour"),
        ([sight(1, is_flat=True), sight(0, problem="it is torn")], "it is torn"),
    ],
)
def test_choose_burst_that_shows_nothing_has_a_reason(seen: list[Seen], reason: str) -> None:
    with pytest.raises(FrameError, match=reason):
        choose(seen, 0.97)
