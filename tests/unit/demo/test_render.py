import random

import numpy as np
import pytest
from PIL import Image

from demo.scenes.render import render
from demo.scenes.scene import (
    POSES,
    Box,
    Kind,
    Place,
    Pose,
    Scene,
    Weather,
    draw_scene,
    make_thing,
)


def make_scene(*, is_night: bool = False, place: Place = Place.STREET) -> Scene:
    return Scene(
        seed=3,
        size=(640, 480),
        place=place,
        weather=Weather.CLOUDY,
        is_night=is_night,
        is_infrared=False,
        things=(),
    )


def changed_box(before: Image.Image, after: Image.Image) -> Box:
    """The box around everything that differs clearly."""
    pictures = (np.asarray(image, dtype=np.int16) for image in (before, after))
    changed = np.abs(np.subtract(*pictures)).max(axis=2) > 40
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    height, width = changed.shape
    return Box(
        columns[0] / width,
        rows[0] / height,
        (columns[-1] + 1) / width,
        (rows[-1] + 1) / height,
    )


def test_render_same_scene_same_pixels() -> None:
    scene = draw_scene(5)
    assert render(scene).tobytes() == render(scene).tobytes()


@pytest.mark.parametrize(("kind", "pose"), [(k, p) for k, poses in POSES.items() for p in poses])
def test_render_thing_fills_its_box(kind: Kind, pose: Pose) -> None:
    scene = make_scene()
    thing = make_thing(random.Random(1), scene.place, kind, 0.5, 0.72, pose=pose, colour="red")
    if kind in (Kind.DOG, Kind.CAT, Kind.PACKAGE):
        thing = make_thing(random.Random(1), scene.place, kind, 0.5, 0.72, pose=pose)
    seen = changed_box(render(scene), render(scene.with_things([thing])))
    # Not 1: the shadow reaches over the box, and dark tyres on a dark road hardly show.
    assert seen.iou(thing.box(scene.size)) > 0.75


@pytest.mark.parametrize("place", list(Place))
def test_render_night_is_darker_than_day(place: Place) -> None:
    day = np.asarray(render(make_scene(place=place))).mean()
    night = np.asarray(render(make_scene(place=place, is_night=True))).mean()
    assert night < 0.75 * day


def test_render_infrared_has_no_colours() -> None:
    scene = next(
        scene for scene in map(draw_scene, range(100)) if scene.is_infrared and scene.seed > 0
    )
    red, green, blue = np.moveaxis(np.asarray(render(scene), dtype=np.int16), 2, 0)
    assert np.abs(red - green).max() <= 1
    assert np.abs(red - blue).max() <= 1


def test_render_frames_of_one_scene_differ_only_by_noise() -> None:
    scene = make_scene()
    first, second = (np.asarray(render(scene, frame), dtype=np.int16) for frame in (1, 2))
    difference = np.abs(first - second)
    assert difference.any()
    assert difference.mean() < 12
