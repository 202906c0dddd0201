"""What a scene consists of, and how one is drawn by lot from a seed.

Everything here is plain data. Positions are fractions of the image, so the same scene can be drawn
at any camera size. Seeds below `EVALUATION_SEEDS` belong to training; seeds from there on are never
trained on, so figures measured on them are figures for unseen scenes.
"""

import random
from dataclasses import dataclass, replace
from enum import StrEnum

#: First seed of the scenes that are only ever measured on.
EVALUATION_SEEDS = 1_000_000_000
#: First seed of the stories that the synthetic cameras show; also never trained on.
STORY_SEEDS = 2_000_000_000


class Kind(StrEnum):
    """What can stand in a scene."""

    PERSON = "person"
    DOG = "dog"
    CAT = "cat"
    CAR = "car"
    BICYCLE = "bicycle"
    PACKAGE = "package"


class Place(StrEnum):
    """Where the camera hangs."""

    FRONT_DOOR = "front door"
    DRIVEWAY = "driveway"
    BACKYARD = "backyard"
    STREET = "street"


class Weather(StrEnum):
    """What the sky does."""

    CLEAR = "clear"
    CLOUDY = "cloudy"
    RAIN = "rain"
    SNOW = "snow"
    FOG = "fog"


class Pose(StrEnum):
    """How a thing stands; which poses a kind has is in `POSES`."""

    STANDING = "standing"
    WALKING = "walking"
    SITTING = "sitting"
    SIDE = "side"
    FRONT = "front"


POSES: dict[Kind, tuple[Pose, ...]] = {
    Kind.PERSON: (Pose.STANDING, Pose.WALKING),
    Kind.DOG: (Pose.STANDING, Pose.WALKING),
    Kind.CAT: (Pose.WALKING, Pose.SITTING),
    Kind.CAR: (Pose.SIDE, Pose.FRONT),
    Kind.BICYCLE: (Pose.SIDE,),
    Kind.PACKAGE: (Pose.FRONT,),
}
COLOURS: dict[Kind, tuple[str, ...]] = {
    Kind.PERSON: ("red", "blue", "green", "yellow", "black", "white"),
    Kind.DOG: ("brown", "black", "white"),
    Kind.CAT: ("black", "orange", "grey", "white"),
    Kind.CAR: ("red", "blue", "white", "black", "grey", "green", "yellow"),
    Kind.BICYCLE: ("red", "blue", "black", "green"),
    Kind.PACKAGE: ("brown",),
}
#: Height of a thing standing where a person would be 1 high.
HEIGHT: dict[Kind, float] = {
    Kind.PERSON: 1.0,
    Kind.DOG: 0.46,
    Kind.CAT: 0.33,
    Kind.CAR: 0.86,
    Kind.BICYCLE: 0.62,
    Kind.PACKAGE: 0.3,
}
#: Width over height by kind and pose.
ASPECT: dict[tuple[Kind, Pose], float] = {
    (Kind.PERSON, Pose.STANDING): 0.36,
    (Kind.PERSON, Pose.WALKING): 0.46,
    (Kind.DOG, Pose.STANDING): 1.3,
    (Kind.DOG, Pose.WALKING): 1.4,
    (Kind.CAT, Pose.WALKING): 1.35,
    (Kind.CAT, Pose.SITTING): 0.72,
    (Kind.CAR, Pose.SIDE): 2.5,
    (Kind.CAR, Pose.FRONT): 1.18,
    (Kind.BICYCLE, Pose.SIDE): 1.65,
    (Kind.PACKAGE, Pose.FRONT): 1.25,
}
#: How likely each kind is at each place; a car never stands in a backyard.
WEIGHTS: dict[Place, dict[Kind, float]] = {
    Place.FRONT_DOOR: {
        Kind.PERSON: 4,
        Kind.DOG: 1.6,
        Kind.CAT: 1.8,
        Kind.PACKAGE: 3,
        Kind.BICYCLE: 1,
    },
    Place.DRIVEWAY: {
        Kind.PERSON: 3,
        Kind.DOG: 1.3,
        Kind.CAT: 1.3,
        Kind.CAR: 3,
        Kind.BICYCLE: 1.5,
        Kind.PACKAGE: 1.5,
    },
    Place.BACKYARD: {
        Kind.PERSON: 3,
        Kind.DOG: 2.5,
        Kind.CAT: 2.5,
        Kind.BICYCLE: 1.2,
        Kind.PACKAGE: 0.8,
    },
    Place.STREET: {
        Kind.PERSON: 3,
        Kind.DOG: 1.2,
        Kind.CAT: 1.0,
        Kind.CAR: 3,
        Kind.BICYCLE: 2.2,
        Kind.PACKAGE: 0.5,
    },
}


@dataclass(frozen=True, slots=True)
class Ground:
    """Where things can stand at a place, and how big a person is there."""

    #: Base line of the farthest and the nearest thing, from the top.
    far: float
    near: float
    #: Height of a person at those base lines, in image heights.
    far_height: float
    near_height: float


GROUND: dict[Place, Ground] = {
    Place.FRONT_DOOR: Ground(0.74, 0.97, 0.42, 0.68),
    Place.DRIVEWAY: Ground(0.60, 0.97, 0.27, 0.62),
    Place.BACKYARD: Ground(0.60, 0.97, 0.27, 0.62),
    Place.STREET: Ground(0.60, 0.97, 0.26, 0.56),
}
#: Camera sizes in pixels with their weights.
SIZES: dict[tuple[int, int], float] = {
    (640, 480): 5,
    (800, 600): 1,
    (1280, 720): 3,
    (960, 540): 1.5,
    (640, 360): 1,
}


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in fractions of the image, clipped to it."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float

    @property
    def x(self) -> float:
        """Centre from the left."""
        return (self.x_min + self.x_max) / 2

    @property
    def y(self) -> float:
        """Centre from the top."""
        return (self.y_min + self.y_max) / 2

    @property
    def width(self) -> float:
        """Width in image widths."""
        return self.x_max - self.x_min

    @property
    def height(self) -> float:
        """Height in image heights."""
        return self.y_max - self.y_min

    @property
    def area(self) -> float:
        """Part of the image inside."""
        return max(0.0, self.width) * max(0.0, self.height)

    def overlap(self, other: "Box") -> float:
        """Area shared with another box."""
        width = min(self.x_max, other.x_max) - max(self.x_min, other.x_min)
        height = min(self.y_max, other.y_max) - max(self.y_min, other.y_min)
        return max(0.0, width) * max(0.0, height)

    def iou(self, other: "Box") -> float:
        """Intersection over union with another box."""
        shared = self.overlap(other)
        union = self.area + other.area - shared
        return shared / union if union > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Thing:
    """Something in a scene."""

    kind: Kind
    colour: str
    pose: Pose
    #: Centre from the left and base line from the top, in fractions of the image.
    x: float
    base: float
    #: Height in image heights.
    height: float
    #: True: looks to the left.
    mirrored: bool = False
    #: Point in the walking cycle, 0..1.
    phase: float = 0.0
    #: Details such as shades and trousers.
    seed: int = 0
    #: Held by a person, so nothing lies on the ground below it.
    carried: bool = False

    def box(self, size: tuple[int, int]) -> Box:
        """Where the thing is in an image of `size` pixels (width, height), clipped to the image."""
        half = self.height * ASPECT[self.kind, self.pose] * size[1] / size[0] / 2
        return Box(
            max(0.0, self.x - half),
            max(0.0, self.base - self.height),
            min(1.0, self.x + half),
            min(1.0, self.base),
        )


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything the drawing and the truth need."""

    seed: int
    size: tuple[int, int]
    place: Place
    weather: Weather
    is_night: bool
    #: Night seen by infra-red: no colours.
    is_infrared: bool
    #: Left to right by the centre of the box.
    things: tuple[Thing, ...]

    def boxes(self, kind: Kind | None = None) -> list[Box]:
        """Boxes of all things, or of one kind, left to right."""
        return [thing.box(self.size) for thing in self.things if kind in (None, thing.kind)]

    def of(self, kind: Kind) -> list[Thing]:
        """The things of one kind, left to right."""
        return [thing for thing in self.things if thing.kind is kind]

    @property
    def motion_intensity(self) -> float:
        """How much of the picture things that move cover, as a camera would report it, 0..1."""
        covered = sum(
            thing.box(self.size).area for thing in self.things if thing.kind is not Kind.PACKAGE
        )
        return round(min(1.0, covered * 4), 3)

    def mirrored(self) -> "Scene":
        """The scene with left and right exchanged, as in a mirrored picture of it."""
        return self.with_things([replace(thing, x=1 - thing.x) for thing in self.things])

    def with_things(self, things: list[Thing]) -> "Scene":
        """The same place at the same hour with other things in it."""
        return replace(self, things=tuple(sorted(things, key=lambda t: t.box(self.size).x)))


def person_height(place: Place, base: float) -> float:
    """Height of a person in image heights whose feet are at `base`."""
    ground = GROUND[place]
    part = (base - ground.far) / (ground.near - ground.far)
    return ground.far_height + part * (ground.near_height - ground.far_height)


def make_thing(
    rng: random.Random, place: Place, kind: Kind, x: float, base: float, **fixed: object
) -> Thing:
    """A thing of random looks at a position, as big as the perspective of the place says."""
    height = person_height(place, base) * HEIGHT[kind] * rng.uniform(0.88, 1.12)
    thing = Thing(
        kind=kind,
        colour=rng.choice(COLOURS[kind]),
        pose=rng.choice(POSES[kind]),
        x=x,
        base=base,
        height=height,
        mirrored=rng.random() < 0.5,
        phase=rng.random(),
        seed=rng.getrandbits(30),
    )
    return replace(thing, **fixed)  # type: ignore[arg-type]


def draw_scene(seed: int, size: tuple[int, int] | None = None) -> Scene:
    """Draw a scene by lot.

    Args:
        seed: Decides everything; see `EVALUATION_SEEDS`.
        size: Width and height in pixels; by lot from `SIZES` when None.
    """
    rng = random.Random(seed)
    place = rng.choice(list(Place))
    is_night = rng.random() < 0.4
    if is_night:
        weather = rng.choices((Weather.CLEAR, Weather.RAIN, Weather.SNOW), (6, 2, 1.5))[0]
    else:
        weather = rng.choices(list(Weather), (5, 3, 2, 1.5, 1))[0]
    drawn_size = rng.choices(list(SIZES), list(SIZES.values()))[0]
    empty = Scene(
        seed=seed,
        size=size or drawn_size,
        place=place,
        weather=weather,
        is_night=is_night,
        is_infrared=is_night and rng.random() < 0.45,
        things=(),
    )
    return empty.with_things(_place_things(rng, empty))


def _place_things(rng: random.Random, scene: Scene) -> list[Thing]:
    things: list[Thing] = []
    for kind in _kinds(rng, scene.place):
        for _ in range(30):
            thing = _candidate(rng, scene, kind)
            if _is_visible(thing, things, scene.size):
                things.append(thing)
                break
    if scene.place in (Place.FRONT_DOOR, Place.DRIVEWAY) and rng.random() < 0.15:
        things = _hand_package(rng, things, scene.size)
    return things


def _kinds(rng: random.Random, place: Place) -> list[Kind]:
    count = rng.choices((0, 1, 2, 3, 4), (13, 36, 29, 16, 6))[0]
    weights = WEIGHTS[place]
    kinds: list[Kind] = []
    while len(kinds) < count:
        if kinds and rng.random() < 0.3:
            kinds.append(kinds[-1])
        else:
            kinds.append(rng.choices(list(weights), list(weights.values()))[0])
    return [kind for index, kind in enumerate(kinds) if kinds[:index].count(kind) < 3]


def _candidate(rng: random.Random, scene: Scene, kind: Kind) -> Thing:
    ground = GROUND[scene.place]
    near = ground.near
    if kind is Kind.CAR:
        # A car nearer than this would fill the picture.
        near = ground.far + 0.55 * (ground.near - ground.far)
    base = rng.uniform(ground.far, near)
    thing = make_thing(rng, scene.place, kind, 0.5, base)
    half = thing.box(scene.size).width / 2
    # Up to a tenth of a thing may be outside the picture.
    reach = max(0.02, half * 0.8)
    return replace(thing, x=rng.uniform(reach, 1 - reach))


def _is_visible(thing: Thing, others: list[Thing], size: tuple[int, int]) -> bool:
    box = thing.box(size)
    for other in others:
        against = other.box(size)
        if box.overlap(against) > 0.22 * min(box.area, against.area):
            return False
    return True


def _hand_package(rng: random.Random, things: list[Thing], size: tuple[int, int]) -> list[Thing]:
    """Let the first person hold a package, when one is there and the hands are in the picture."""
    people = [thing for thing in things if thing.kind is Kind.PERSON]
    if not people or len([thing for thing in things if thing.kind is Kind.PACKAGE]) == 3:
        return things
    return [*things, carried_package(rng, people[0], size)]


def carried_package(rng: random.Random, person: Thing, size: tuple[int, int]) -> Thing:
    """A package in the hands of a person."""
    side = -1 if person.mirrored else 1
    shift = side * person.height * 0.13 * size[1] / size[0]
    return Thing(
        kind=Kind.PACKAGE,
        colour="brown",
        pose=Pose.FRONT,
        x=min(0.96, max(0.04, person.x + shift)),
        base=person.base - person.height * 0.42,
        height=person.height * rng.uniform(0.2, 0.26),
        mirrored=person.mirrored,
        seed=rng.getrandbits(30),
        carried=True,
    )
