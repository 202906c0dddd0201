"""Little stories in front of a camera: someone comes, something happens, the place is empty again.

A story is a list of moments, each the things that are there; the frames are drawn from them one
after the other. Motion is measured on the pictures, as a camera does it, not taken from the script.
"""

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from demo.language import Length, caption
from demo.scenes.render import render
from demo.scenes.scene import (
    STORY_SEEDS,
    Kind,
    Place,
    Pose,
    Scene,
    Thing,
    Weather,
    carried_package,
    make_thing,
)

Moments = list[list[Thing]]

#: A change of fewer grey levels than this is noise, rain or a cloud.
_CHANGED_LEVELS = 16
#: Pictures are compared this small, so that noise averages out.
_COMPARED_SIZE = (80, 60)


@dataclass(frozen=True, slots=True)
class StoryFrame:
    """One picture of a story with its truth."""

    image: Image.Image
    #: From the change since the frame before, 0..1.
    motion_intensity: float
    #: A true description in one wording; the model may choose another.
    caption: str
    scene: Scene


def tell(place: Place, size: tuple[int, int], seed: int) -> Iterator[StoryFrame]:
    """Draw one story.

    Args:
        place: Where the camera hangs.
        size: Width and height of its pictures in pixels.
        seed: Decides story, weather, hour and looks; small numbers are fine, they never meet the
            seeds of training.
    """
    rng = random.Random(f"story {place} {seed}")
    is_night = rng.random() < 0.4
    empty = Scene(
        seed=STORY_SEEDS + rng.getrandbits(24),
        size=size,
        place=place,
        weather=rng.choices((Weather.CLEAR, Weather.RAIN, Weather.SNOW), (5, 1, 1))[0],
        is_night=is_night,
        is_infrared=is_night and rng.random() < 0.5,
        things=(),
    )
    moments = rng.choice(_STORIES[place])(rng, empty)
    before = render(empty, frame=0)
    for number, things in enumerate(moments, start=1):
        scene = empty.with_things(things)
        image = render(scene, frame=number)
        words = caption(scene, Length.NORMAL, random.Random(seed))
        yield StoryFrame(image, motion_between(before, image), words, scene)
        before = image


def motion_between(before: Image.Image, after: Image.Image) -> float:
    """How much changed between two pictures of a camera, 0 (nothing) to 1 (a quarter and more)."""
    earlier, later = (
        np.asarray(image.convert("L").resize(_COMPARED_SIZE, Image.Resampling.BOX), np.int16)
        for image in (before, after)
    )
    changed = np.count_nonzero(np.abs(later - earlier) > _CHANGED_LEVELS) / later.size
    # The root makes small animals count: a hundredth of the picture is 0.2, a tenth 0.63.
    return round(min(1.0, math.sqrt(4 * changed)), 3)


def _courier(rng: random.Random, scene: Scene) -> Moments:
    """A person brings a package, puts it down and leaves."""
    base, look = rng.uniform(0.82, 0.94), rng.getrandbits(30)
    person = make_thing(rng, scene.place, Kind.PERSON, 0.5, base, pose=Pose.WALKING)
    package = make_thing(rng, scene.place, Kind.PACKAGE, 0.42, base - 0.03, seed=look)
    coming: Moments = []
    for moment in _walk(person, (0.86, 0.72, 0.58)):
        held = carried_package(random.Random(look), moment[0], scene.size)
        coming.append([*moment, held])
    waiting = [[replace(person, x=0.62, pose=Pose.STANDING, mirrored=True), package]]
    leaving = [[*moment, package] for moment in _walk(person, (0.7, 0.84))]
    return [*coming, *waiting, *leaving, [package]]


def _visitor(rng: random.Random, scene: Scene) -> Moments:
    """A person comes, waits and goes again."""
    person = make_thing(
        rng, scene.place, Kind.PERSON, 0.5, rng.uniform(0.8, 0.94), pose=Pose.WALKING
    )
    waiting = replace(person, x=0.5, pose=Pose.STANDING)
    return [*_walk(person, (0.14, 0.32)), [waiting], *_walk(person, (0.32, 0.14)), []]


def _cat_crosses(rng: random.Random, scene: Scene) -> Moments:
    """A cat crosses and sits down on its way."""
    cat = make_thing(rng, scene.place, Kind.CAT, 0.5, rng.uniform(0.78, 0.94), pose=Pose.WALKING)
    sitting = replace(cat, x=0.5, pose=Pose.SITTING)
    return [*_walk(cat, (0.12, 0.3)), [sitting], *_walk(cat, (0.7, 0.88)), []]


def _dog_and_owner(rng: random.Random, scene: Scene) -> Moments:
    """A dog runs ahead, its owner follows."""
    base = rng.uniform(0.8, 0.92)
    dog = make_thing(rng, scene.place, Kind.DOG, 0.5, base + 0.03, pose=Pose.WALKING)
    owner = make_thing(rng, scene.place, Kind.PERSON, 0.5, base, pose=Pose.WALKING)
    dogs = _walk(dog, (0.85, 0.66, 0.45, 0.2))
    owners = [[], *_walk(owner, (0.88, 0.72, 0.5))]
    return [*(first + second for first, second in zip(dogs, owners, strict=True)), []]


def _car_arrives(rng: random.Random, scene: Scene) -> Moments:
    """A car comes nearer and stops; the driver gets out."""
    car = make_thing(rng, scene.place, Kind.CAR, 0.4, 0.66, pose=Pose.FRONT)
    nearer = [_moved(rng, scene, car, 0.42, base) for base in (0.62, 0.68, 0.74)]
    driver = make_thing(rng, scene.place, Kind.PERSON, 0.7, 0.84, pose=Pose.WALKING)
    return [*([one] for one in nearer), *([nearer[-1], *m] for m in _walk(driver, (0.66, 0.82)))]


def _car_passes(rng: random.Random, scene: Scene) -> Moments:
    """A car drives past a bicycle that stands at the roadside."""
    car = make_thing(rng, scene.place, Kind.CAR, 0.5, rng.uniform(0.66, 0.74), pose=Pose.SIDE)
    bicycle = make_thing(rng, scene.place, Kind.BICYCLE, rng.uniform(0.25, 0.75), 0.95)
    passing = [[one, bicycle] for (one,) in _walk(car, (0.25, 0.5, 0.75))]
    return [[bicycle], *passing, [bicycle]]


def _nothing(rng: random.Random, scene: Scene) -> Moments:
    """Only the weather moves."""
    return [[], []]


def _walk(thing: Thing, stations: tuple[float, ...]) -> Moments:
    """The thing at each station, looking where it goes."""
    is_leftward = stations[-1] < stations[0]
    return [
        [replace(thing, x=x, mirrored=is_leftward, phase=0.15 + 0.3 * index)]
        for index, x in enumerate(stations)
    ]


def _moved(rng: random.Random, scene: Scene, thing: Thing, x: float, base: float) -> Thing:
    """The thing at another distance from the camera."""
    there = make_thing(random.Random(thing.seed), scene.place, thing.kind, x, base)
    return replace(thing, x=x, base=base, height=there.height)


_STORIES: dict[Place, tuple[Callable[[random.Random, Scene], Moments], ...]] = {
    Place.FRONT_DOOR: (_courier, _courier, _visitor, _cat_crosses),
    Place.DRIVEWAY: (_car_arrives, _car_arrives, _visitor, _courier),
    Place.BACKYARD: (_cat_crosses, _dog_and_owner, _nothing),
    Place.STREET: (_car_passes, _dog_and_owner, _car_passes, _visitor),
}
