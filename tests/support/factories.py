"""Things tests need, with sane values where a test does not care."""

import io
import random
from datetime import UTC, datetime
from itertools import count
from typing import Any

from PIL import Image, ImageDraw

from schemas.frame import Priority
from schemas.job import Job

_NUMBERS = count(1)
NOON = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


def make_job(priority: Priority = Priority.NORMAL, **fields: Any) -> Job:
    """A queued job that arrived at noon."""
    number = next(_NUMBERS)
    values = {
        "job_id": f"job-{number}",
        "camera_id": "front",
        "priority": priority,
        "sha256": f"{number:064x}",
        "taken_at": NOON,
        "received_at": NOON,
        **fields,
    }
    return Job.model_validate(values)


def make_picture(seed: int = 0, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """Rectangles of random colours: differs from seed to seed, also to a fingerprint."""
    rng = random.Random(seed)
    image = Image.new("RGB", size, tuple(rng.randrange(256) for _ in range(3)))
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        left, top = rng.randrange(size[0]), rng.randrange(size[1])
        right, bottom = left + rng.randrange(20, 160), top + rng.randrange(20, 120)
        colour = tuple(rng.randrange(256) for _ in range(3))
        draw.rectangle((left, top, right, bottom), fill=colour)
    return image


def make_image(
    seed: int = 0, size: tuple[int, int] = (320, 240), form: str = "JPEG", **options: Any
) -> bytes:
    """An encoded picture."""
    buffer = io.BytesIO()
    make_picture(seed, size).save(buffer, form, **options)
    return buffer.getvalue()
