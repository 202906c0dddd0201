"""The picture that the quickstart draws."""

from pathlib import Path

from PIL import Image

from demo import picture


def test_picture_is_a_jpeg_and_the_same_every_time(tmp_path: Path) -> None:
    first, again, other = (tmp_path / name for name in ("a.jpg", "b.jpg", "c.jpg"))
    picture.main([str(first)])
    picture.main([str(again)])
    picture.main([str(other), "--camera", "driveway"])
    assert first.read_bytes() == again.read_bytes() != other.read_bytes()
    with Image.open(first) as image:
        assert (image.format, image.size) == ("JPEG", (640, 480))
