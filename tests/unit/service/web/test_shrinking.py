"""The child that makes pictures small: what it makes, and what becomes of it."""

import io
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from PIL import Image

from engine.images import ImageLimits
from service.web.shrinking import Shrinker
from tests.support.factories import make_image


@asynccontextmanager
async def shrinking() -> AsyncIterator[Shrinker]:
    shrinker = Shrinker(ImageLimits())
    try:
        yield shrinker
    finally:
        await shrinker.close()


def width(jpeg: bytes | None) -> int:
    with Image.open(io.BytesIO(jpeg or b"")) as image:
        return image.width


async def test_pictures_are_made_small_by_one_child() -> None:
    async with shrinking() as shrinker:
        for form in ("JPEG", "PNG", "WEBP"):
            assert width(await shrinker.shrink(make_image(1, (800, 600), form), 160)) == 160
        assert shrinker.pid is not None


async def test_a_picture_that_is_damaged_is_none_and_others_go_on() -> None:
    async with shrinking() as shrinker:
        picture = make_image(1, (800, 600), "PNG")
        assert await shrinker.shrink(picture[:60] + bytes(200) + picture[260:], 160) is None
        assert await shrinker.shrink(b"nothing", 160) is None
        assert width(await shrinker.shrink(picture, 160)) == 160


async def test_a_child_that_died_is_replaced() -> None:
    async with shrinking() as shrinker:
        await shrinker.shrink(make_image(1), 160)
        assert shrinker.pid is not None
        os.kill(shrinker.pid, signal.SIGKILL)

        assert await shrinker.shrink(make_image(1), 160) is None
        assert width(await shrinker.shrink(make_image(1), 160)) == 160
