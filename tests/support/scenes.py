"""Drawn pictures of which a test knows what is on them; the demonstration model knows it too."""

import io
from itertools import count

from demo.scenes.render import render
from demo.scenes.scene import Kind, draw_scene


def drawn_with(*wanted: Kind, seed: int = 0, size: tuple[int, int] = (640, 480)) -> bytes:
    """A JPEG by day with exactly these things, in any order."""
    for each in count(seed):
        scene = draw_scene(each, size)
        kinds = sorted(thing.kind for thing in scene.things)
        if kinds == sorted(wanted) and not scene.is_night:
            file = io.BytesIO()
            render(scene).save(file, "JPEG", quality=90)
            return file.getvalue()
    raise AssertionError("unreachable")
