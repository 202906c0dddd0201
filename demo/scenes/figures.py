"""How people, animals, vehicles and packages look.

Every figure fills its box, because the box is the ground truth of detection.
"""

import math
import random
from collections.abc import Callable

from PIL import ImageDraw

from demo.scenes.pen import PALETTE, Colour, Pen, shade
from demo.scenes.scene import ASPECT, Kind, Pose, Thing

SKIN: tuple[Colour, ...] = ((240, 205, 175), (222, 178, 140), (168, 118, 82), (112, 76, 52))
HAIR: tuple[Colour, ...] = ((40, 30, 26), (92, 62, 36), (168, 132, 72), (130, 130, 130))
TROUSERS: tuple[Colour, ...] = ((44, 54, 86), (58, 58, 60), (112, 98, 76), (70, 86, 110))
FUR: dict[str, Colour] = {
    "brown": (146, 96, 52),
    "black": (38, 35, 36),
    "white": (232, 226, 214),
    "orange": (218, 132, 52),
    "grey": (128, 128, 132),
}
TYRE: Colour = (26, 26, 28)
GLASS: Colour = (120, 158, 186)


def draw_thing(draw: ImageDraw.ImageDraw, size: tuple[int, int], thing: Thing) -> None:
    """Draw a thing where it stands in an image of `size` pixels."""
    height = thing.height * size[1]
    width = height * ASPECT[thing.kind, thing.pose]
    pen = Pen(
        draw,
        thing.x * size[0] - width / 2,
        thing.base * size[1] - height,
        width,
        height,
        is_mirrored=thing.mirrored,
    )
    _FIGURES[thing.kind](pen, thing, random.Random(thing.seed))


def _person(pen: Pen, thing: Thing, rng: random.Random) -> None:
    shirt = shade(PALETTE[thing.colour], rng.uniform(0.85, 1.15))
    skin, hair, trousers = rng.choice(SKIN), rng.choice(HAIR), rng.choice(TROUSERS)
    is_walking = thing.pose is Pose.WALKING
    swing = math.sin(2 * math.pi * thing.phase) if is_walking else 0.0
    stride = 0.30 + 0.10 * abs(swing) if is_walking else 0.13
    # Legs with shoes.
    for side, tone in ((-1, 0.8), (1, 1.0)):
        foot = 0.5 + side * stride
        pen.polygon(
            [(0.34, 0.5), (0.66, 0.5), (foot + 0.11, 0.96), (foot - 0.11, 0.96)],
            shade(trousers, tone),
        )
        pen.rounded(foot - 0.13, 0.945, foot + 0.19, 1.0, (32, 28, 28))
    # Arms behind and before the body.
    reach = 0.40 if is_walking else 0.36
    for side in (-1, 1):
        hand = (0.5 + side * reach, 0.52 - 0.05 * swing * side)
        pen.line([(0.5 + side * 0.22, 0.23), hand], shade(shirt, 0.82), 0.065)
        pen.ellipse(hand[0] - 0.08, hand[1] - 0.03, hand[0] + 0.08, hand[1] + 0.03, skin)
    pen.rounded(0.22, 0.17, 0.78, 0.55, shirt, 0.35)
    pen.line([(0.5, 0.2), (0.5, 0.53)], shade(shirt, 0.75), 0.01)
    # Head, hair, and the face on the side the person looks to.
    pen.box(0.43, 0.13, 0.57, 0.19, shade(skin, 0.9))
    pen.ellipse(0.31, 0.0, 0.69, 0.16, hair)
    pen.ellipse(0.36, 0.035, 0.7, 0.16, skin)
    if rng.random() < 0.25:
        pen.rounded(0.28, 0.0, 0.74, 0.06, shade(shirt, 0.7), 0.5)


def _dog(pen: Pen, thing: Thing, rng: random.Random) -> None:
    fur = shade(FUR[thing.colour], rng.uniform(0.88, 1.12))
    dark = shade(fur, 0.72)
    swing = 0.05 * math.sin(2 * math.pi * thing.phase) if thing.pose is Pose.WALKING else 0.0
    for x, tone, sign in ((0.17, 0.75, 1), (0.6, 0.75, -1), (0.27, 1.0, -1), (0.69, 1.0, 1)):
        foot = x + sign * swing
        pen.polygon(
            [(x - 0.05, 0.6), (x + 0.06, 0.6), (foot + 0.045, 1.0), (foot - 0.045, 1.0)],
            shade(fur, tone),
        )
    # Tail up, body, neck.
    pen.line([(0.14, 0.42), (0.05, 0.3), (0.02, 0.12)], fur, 0.085)
    pen.rounded(0.1, 0.34, 0.78, 0.72, fur, 0.48)
    pen.polygon([(0.6, 0.4), (0.68, 0.12), (0.88, 0.2), (0.78, 0.62)], fur)
    # Head with a long muzzle, nose, hanging ear, eye, collar.
    pen.ellipse(0.62, 0.02, 0.88, 0.36, fur)
    pen.rounded(0.78, 0.15, 1.0, 0.33, shade(fur, 1.08), 0.45)
    pen.ellipse(0.955, 0.15, 1.0, 0.23, (20, 18, 18))
    pen.ellipse(0.62, 0.03, 0.74, 0.38, dark)
    pen.ellipse(0.8, 0.1, 0.835, 0.16, (16, 14, 14))
    pen.line([(0.62, 0.42), (0.8, 0.44)], (176, 40, 40), 0.045)


def _cat(pen: Pen, thing: Thing, rng: random.Random) -> None:
    fur = shade(FUR[thing.colour], rng.uniform(0.88, 1.12))
    if thing.pose is Pose.SITTING:
        _sitting_cat(pen, fur)
    else:
        _walking_cat(pen, fur, 0.04 * math.sin(2 * math.pi * thing.phase))


def _walking_cat(pen: Pen, fur: Colour, swing: float) -> None:
    # A tail that rises in an S, longer and thinner than a dog's.
    pen.line([(0.16, 0.55), (0.06, 0.46), (0.04, 0.25), (0.09, 0.1), (0.03, 0.02)], fur, 0.06)
    for x, tone, sign in ((0.18, 0.75, 1), (0.58, 0.75, -1), (0.26, 1.0, -1), (0.66, 1.0, 1)):
        foot = x + sign * swing
        pen.polygon(
            [(x - 0.04, 0.7), (x + 0.04, 0.7), (foot + 0.04, 1.0), (foot - 0.035, 1.0)],
            shade(fur, tone),
        )
    pen.rounded(0.11, 0.46, 0.76, 0.8, fur, 0.5)
    for x in (0.25, 0.37, 0.49):
        pen.line([(x, 0.47), (x + 0.02, 0.62)], shade(fur, 0.7), 0.035)
    _cat_head(pen, fur, 0.66, 0.22, 1.0, 0.66)


def _sitting_cat(pen: Pen, fur: Colour) -> None:
    pen.line([(0.3, 0.95), (0.06, 0.93), (0.03, 0.75), (0.12, 0.66)], fur, 0.06)
    pen.ellipse(0.12, 0.5, 0.88, 1.0, fur)
    pen.polygon([(0.3, 0.4), (0.7, 0.4), (0.86, 0.82), (0.14, 0.82)], fur)
    for x in (0.38, 0.52):
        pen.rounded(x, 0.6, x + 0.12, 1.0, shade(fur, 1.1), 0.5)
    _cat_head(pen, fur, 0.2, 0.04, 0.8, 0.46)
    pen.ellipse(0.86, 0.8, 1.0, 0.98, fur)


def _cat_head(pen: Pen, fur: Colour, x0: float, y0: float, x1: float, y1: float) -> None:
    """A round head with two pointed ears between the corners; the ears reach above it."""
    width, height = x1 - x0, y1 - y0
    for left in (0.02, 0.62):
        start = x0 + left * width
        pen.polygon(
            [
                (start, y0 + 0.4 * height),
                (start + 0.36 * width, y0 + 0.3 * height),
                (start + 0.14 * width, y0 - 0.1 * height),
            ],
            fur,
        )
    pen.ellipse(x0, y0 + 0.12 * height, x1, y1, fur)
    for middle in (0.32, 0.7):
        eye = x0 + middle * width
        pen.ellipse(
            eye - 0.08 * width, y0 + 0.4 * height, eye + 0.08 * width, y0 + 0.56 * height,
            (190, 210, 70),
        )  # fmt: skip
    pen.ellipse(
        x0 + 0.44 * width,
        y0 + 0.64 * height,
        x0 + 0.58 * width,
        y0 + 0.72 * height,
        (190, 110, 110),
    )


def _car(pen: Pen, thing: Thing, rng: random.Random) -> None:
    paint = shade(PALETTE[thing.colour], rng.uniform(0.88, 1.12))
    if thing.pose is Pose.SIDE:
        _car_side(pen, paint)
    else:
        _car_front(pen, paint)


def _car_side(pen: Pen, paint: Colour) -> None:
    pen.polygon(
        [(0.16, 0.42), (0.28, 0.03), (0.66, 0.0), (0.8, 0.4), (0.98, 0.5), (1.0, 0.82), (0.0, 0.84),
         (0.0, 0.48)],
        paint,
    )  # fmt: skip
    pen.polygon([(0.215, 0.42), (0.305, 0.1), (0.46, 0.08), (0.46, 0.42)], GLASS)
    pen.polygon([(0.49, 0.42), (0.49, 0.08), (0.64, 0.07), (0.745, 0.42)], GLASS)
    pen.line([(0.475, 0.1), (0.475, 0.8)], shade(paint, 0.7), 0.012)
    pen.line([(0.02, 0.62), (0.98, 0.62)], shade(paint, 0.8), 0.025)
    pen.box(0.0, 0.76, 1.0, 0.84, shade(paint, 0.55))
    pen.ellipse(0.94, 0.52, 0.995, 0.64, (250, 244, 190))
    pen.ellipse(0.0, 0.5, 0.035, 0.63, (190, 20, 20))
    for hub in (0.2, 0.79):
        pen.ellipse(hub - 0.095, 0.55, hub + 0.095, 1.0, TYRE)
        pen.ellipse(hub - 0.05, 0.66, hub + 0.05, 0.89, (170, 172, 176))


def _car_front(pen: Pen, paint: Colour) -> None:
    for x in (0.04, 0.76):
        pen.rounded(x, 0.7, x + 0.2, 1.0, TYRE, 0.3)
    pen.polygon([(0.12, 0.42), (0.24, 0.0), (0.76, 0.0), (0.88, 0.42)], paint)
    pen.polygon([(0.18, 0.4), (0.28, 0.07), (0.72, 0.07), (0.82, 0.4)], GLASS)
    pen.rounded(0.0, 0.38, 1.0, 0.88, paint, 0.25)
    for x in (0.04, 0.76):
        pen.ellipse(x, 0.5, x + 0.2, 0.66, (252, 246, 200))
    pen.rounded(0.28, 0.54, 0.72, 0.66, (40, 42, 46), 0.4)
    pen.box(0.36, 0.72, 0.64, 0.81, (238, 238, 232))
    pen.box(0.02, 0.83, 0.98, 0.88, shade(paint, 0.5))


def _bicycle(pen: Pen, thing: Thing, rng: random.Random) -> None:
    paint = shade(PALETTE[thing.colour], rng.uniform(0.9, 1.2))
    for hub in (0.215, 0.785):
        pen.ring(hub - 0.215, 0.31, hub + 0.215, 1.0, TYRE, 0.065)
        for turn in range(4):
            angle = math.pi * turn / 4 + thing.phase
            across, down = 0.19 * math.cos(angle), 0.31 * math.sin(angle)
            pen.line(
                [(hub - across, 0.655 - down), (hub + across, 0.655 + down)], (120, 120, 122), 0.01
            )
    rear, front, crank = (0.215, 0.655), (0.785, 0.655), (0.47, 0.68)
    seat, head = (0.39, 0.22), (0.69, 0.2)
    pen.line([rear, crank, head, (0.41, 0.27), rear], paint, 0.06)
    pen.line([crank, seat], paint, 0.06)
    pen.line([front, (0.67, 0.03)], paint, 0.06)
    pen.line([(0.58, 0.02), (0.68, 0.03), (0.77, 0.1)], (34, 34, 36), 0.05)
    pen.rounded(0.31, 0.14, 0.48, 0.22, (34, 34, 36), 0.5)
    pen.ellipse(0.42, 0.61, 0.52, 0.76, (70, 70, 72))


def _package(pen: Pen, thing: Thing, rng: random.Random) -> None:
    board = shade((188, 142, 90), rng.uniform(0.85, 1.15))
    pen.polygon([(0.0, 0.24), (0.2, 0.0), (1.0, 0.0), (0.8, 0.24)], shade(board, 1.18))
    pen.polygon([(0.8, 0.24), (1.0, 0.0), (1.0, 0.78), (0.8, 1.0)], shade(board, 0.72))
    pen.box(0.0, 0.24, 0.8, 1.0, board)
    tape = (224, 204, 160)
    pen.polygon([(0.34, 0.24), (0.54, 0.0), (0.66, 0.0), (0.46, 0.24)], tape)
    pen.box(0.34, 0.24, 0.46, 0.52, tape)
    if rng.random() < 0.8:
        pen.box(0.5, 0.58, 0.74, 0.84, (244, 244, 240))
        pen.box(0.54, 0.64, 0.7, 0.68, (60, 60, 60))


_FIGURES: dict[Kind, Callable[[Pen, Thing, random.Random], None]] = {
    Kind.PERSON: _person,
    Kind.DOG: _dog,
    Kind.CAT: _cat,
    Kind.CAR: _car,
    Kind.BICYCLE: _bicycle,
    Kind.PACKAGE: _package,
}
