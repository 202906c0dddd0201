"""The captioned frame as a JPEG with what was found drawn on it."""

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from engine.protocol import Answer, Box, BoxesAnswer, Point, PointsAnswer, TaskSpec

_MAX_SIDE = 1920  # pixels; it is looked at on a telephone
#: Mosquitto from 2.1 on hangs up on a packet of more than 2,000,000 bytes; a topic has hundreds.
MAX_JPEG_BYTES = 1_900_000
_QUALITIES = (85, 60, 40)  # noise of the largest size has 2.8, 1.7 and 1.3 MB
_COLOURS = ("#ff5252", "#40c4ff", "#ffd740", "#69f0ae", "#e040fb", "#ff9100")


def draw(image: Image.Image, tasks: Sequence[TaskSpec], answers: Sequence[Answer]) -> bytes:
    """Return the frame as a JPEG, with the boxes and points of its answers and their labels.

    It has at most `MAX_JPEG_BYTES`.

    Args:
        image: In RGB; it is not changed.
        tasks: What was asked.
        answers: One for each task.
    """
    picture = image.copy()
    picture.thumbnail((_MAX_SIDE, _MAX_SIDE))
    pen = ImageDraw.Draw(picture)
    for index, (task, answer) in enumerate(zip(tasks, answers, strict=True)):
        colour = _COLOURS[index % len(_COLOURS)]
        match answer:
            case BoxesAnswer(boxes=boxes):
                for box in boxes:
                    _draw_box(pen, picture.size, box, task.text, colour)
            case PointsAnswer(points=points):
                for point in points:
                    _draw_point(pen, picture.size, point, colour)
    return encode(picture, MAX_JPEG_BYTES)


def encode(picture: Image.Image, max_bytes: int) -> bytes:
    """Return a JPEG of a picture, of lower quality and then smaller where it would be too large.

    Args:
        picture: In RGB.
        max_bytes: At least 900, which a picture of one pixel has room in.
    """
    while True:
        for quality in _QUALITIES:
            file = io.BytesIO()
            picture.save(file, "JPEG", quality=quality)
            if file.tell() <= max_bytes:
                return file.getvalue()
        width, height = picture.size
        picture = picture.resize((max(1, width // 2), max(1, height // 2)))


def _draw_box(
    pen: ImageDraw.ImageDraw, size: tuple[int, int], box: Box, label: str, colour: str
) -> None:
    width, height = size
    left, right = sorted((box.x_min * width, box.x_max * width))
    top, bottom = sorted((box.y_min * height, box.y_max * height))
    stroke = max(2, width // 400)
    pen.rectangle((left, top, right, bottom), outline=colour, width=stroke)
    font = ImageFont.load_default(max(12, width // 60))
    place = (max(0.0, left) + stroke, max(0.0, top) + stroke)
    pen.rectangle(pen.textbbox(place, label, font=font), fill=colour)
    pen.text(place, label, fill="black", font=font)


def _draw_point(pen: ImageDraw.ImageDraw, size: tuple[int, int], point: Point, colour: str) -> None:
    radius = max(4, size[0] // 200)
    place = (point.x * size[0], point.y * size[1])
    pen.circle(place, radius, fill=colour, outline="black", width=max(1, radius // 4))
