import pytest

from service.commands.live.decoding import MAX_SIZE, PictureError, decode
from service.commands.live.thumbnails import Thumbnails
from tests.support.factories import make_image


def test_decoded_picture_is_reduced_in_its_shape() -> None:
    assert decode(make_image(size=(1920, 1080))).size == (480, 270)
    assert decode(make_image(size=(64, 48))).size == (64, 48)


@pytest.mark.parametrize(
    "jpeg",
    [
        b"",
        b"no picture",
        make_image()[:500],
        make_image(form="PNG"),
        make_image().replace(b"\xff\xc0\x00\x11\x08\x00\xf0", b"\xff\xc0\x00\x11\x08\xff\xff"),
        b"\xff\xd8\xff" + b"\xff" * 100_000,
    ],
    ids=["empty", "text", "cut", "png", "huge", "padding"],
)
def test_bytes_that_are_no_jpeg_are_no_picture(jpeg: bytes) -> None:
    with pytest.raises(PictureError):
        decode(jpeg)
    thumbnails = Thumbnails()
    thumbnails.put("front", make_image())
    thumbnails.decode_waiting()
    assert thumbnails.get("front") is not None
    thumbnails.put("front", jpeg)
    thumbnails.decode_waiting()
    assert thumbnails.get("front") is None


def test_newest_picture_of_a_camera_is_decoded_and_only_of_those_that_are_shown() -> None:
    thumbnails = Thumbnails()
    thumbnails.put("front", b"old")
    thumbnails.put("back", b"other")
    thumbnails.put("front", b"new")
    assert thumbnails.take({"front"}) == ("front", b"new")
    assert thumbnails.take({"front"}) is None


def test_pictures_of_many_cameras_are_bounded() -> None:
    thumbnails = Thumbnails()
    jpeg = make_image(size=(32, 32))
    for number in range(100):
        thumbnails.put(f"camera{number}", jpeg)
    thumbnails.decode_waiting()
    kept = [number for number in range(100) if thumbnails.get(f"camera{number}")]
    assert len(kept) == 32
    assert MAX_SIZE[0] * MAX_SIZE[1] * 3 * len(kept) < 30_000_000


def test_picture_larger_than_the_service_sends_is_passed_over() -> None:
    thumbnails = Thumbnails()
    thumbnails.put("front", bytes(2_000_001))
    assert thumbnails.take({"front"}) is None
