"""What the four places look like when nothing is there.

Each place is drawn whole, then `light` turns it into night, rain or fog. Colours and details come
from the scene's seed, so no two cameras look alike.
"""

import random
from collections.abc import Callable

from PIL import ImageDraw

from demo.scenes.pen import Colour, Pen, shade
from demo.scenes.scene import Place, Scene, Weather

WALLS: tuple[Colour, ...] = (
    (176, 92, 72), (206, 196, 176), (150, 160, 168), (222, 214, 200), (134, 148, 128),
    (188, 168, 130),
)  # fmt: skip
DOORS: tuple[Colour, ...] = (
    (120, 32, 34), (38, 62, 92), (46, 84, 62), (92, 62, 40), (60, 62, 66), (226, 224, 218)
)  # fmt: skip
SNOW: Colour = (232, 236, 242)


def draw_place(draw: ImageDraw.ImageDraw, scene: Scene) -> None:
    """Fill the whole image with the empty place."""
    rng = random.Random(scene.seed ^ 0x5EED)
    pen = Pen(draw, 0, 0, *scene.size)
    _PLACES[scene.place](pen, scene, rng)


def _sky(scene: Scene, rng: random.Random) -> Colour:
    if scene.weather is Weather.CLEAR:
        return shade((132, 182, 228), rng.uniform(0.9, 1.1))
    return shade((176, 182, 188), rng.uniform(0.85, 1.1))


def _ground(scene: Scene, colour: Colour, rng: random.Random) -> Colour:
    """The colour of the ground: what it is made of, under snow when it snows."""
    if scene.weather is Weather.SNOW:
        return shade(SNOW, rng.uniform(0.9, 1.0))
    wet = 0.78 if scene.weather is Weather.RAIN else 1.0
    return shade(colour, wet * rng.uniform(0.88, 1.12))


def _lawn(scene: Scene, rng: random.Random) -> Colour:
    return _ground(scene, (98, 142, 70), rng)


def _bricks(pen: Pen, wall: Colour, y0: float, y1: float, rng: random.Random) -> None:
    """A wall: boards or bricks, by lot."""
    pen.box(0, y0, 1, y1, wall)
    rows = rng.randint(9, 15)
    step = (y1 - y0) / rows
    is_brick = rng.random() < 0.5
    for row in range(rows):
        y = y0 + row * step
        pen.line([(0, y), (1, y)], shade(wall, 0.88), 0.004)
        if is_brick:
            for column in range(16):
                x = (column + 0.5 * (row % 2)) / 15
                pen.line([(x, y), (x, y + step)], shade(wall, 0.88), 0.003)


def _window(pen: Pen, x0: float, y0: float, x1: float, y1: float, is_lit: bool) -> None:
    pen.box(x0, y0, x1, y1, (236, 234, 228))
    inset_x, inset_y = (x1 - x0) * 0.08, (y1 - y0) * 0.08
    glass: Colour = (244, 214, 140) if is_lit else (96, 118, 136)
    pen.box(x0 + inset_x, y0 + inset_y, x1 - inset_x, y1 - inset_y, glass)
    middle = (x0 + x1) / 2
    pen.line([(middle, y0), (middle, y1)], (236, 234, 228), 0.008)
    pen.line([(x0, (y0 + y1) / 2), (x1, (y0 + y1) / 2)], (236, 234, 228), 0.008)


def _bush(pen: Pen, x: float, base: float, size: float, rng: random.Random) -> None:
    green = shade((58, 104, 52), rng.uniform(0.8, 1.2))
    for _ in range(6):
        left = x + rng.uniform(-0.6, 0.2) * size
        top = base - size * rng.uniform(0.6, 1.2)
        pen.ellipse(left, top, left + 0.6 * size, base, shade(green, rng.uniform(0.85, 1.15)))


def _tree(pen: Pen, x: float, base: float, size: float, rng: random.Random) -> None:
    pen.polygon(
        [(x - 0.05 * size, base), (x + 0.05 * size, base), (x + 0.03 * size, base - 0.6 * size),
         (x - 0.03 * size, base - 0.6 * size)],
        (92, 70, 50),
    )  # fmt: skip
    green = shade((64, 112, 56), rng.uniform(0.75, 1.2))
    for _ in range(7):
        left = x + rng.uniform(-0.42, 0.06) * size
        top = base - size * rng.uniform(0.7, 1.15)
        tone = shade(green, rng.uniform(0.85, 1.15))
        pen.ellipse(left, top, left + 0.38 * size, top + 0.5 * size, tone)


def _front_door(pen: Pen, scene: Scene, rng: random.Random) -> None:
    wall = shade(rng.choice(WALLS), rng.uniform(0.9, 1.1))
    floor = rng.uniform(0.62, 0.7)
    _bricks(pen, wall, 0, floor, rng)
    stone = _ground(scene, rng.choice(((170, 164, 154), (146, 132, 118), (160, 110, 90))), rng)
    pen.box(0, floor, 1, 1, stone)
    for row in (0.25, 0.55):
        y = floor + row * (1 - floor)
        pen.line([(0, y), (1, y)], shade(stone, 0.85), 0.005)
    for column in range(9):
        x = (column + 0.5) / 9
        pen.line(
            [(0.5 + (x - 0.5) * 0.8, floor), (0.5 + (x - 0.5) * 1.5, 1)], shade(stone, 0.88), 0.004
        )
    x = rng.uniform(0.28, 0.62)
    width, top = rng.uniform(0.17, 0.23), rng.uniform(0.06, 0.14)
    door = shade(rng.choice(DOORS), rng.uniform(0.9, 1.1))
    pen.box(x - 0.02, top - 0.03, x + width + 0.02, floor, (232, 230, 224))
    pen.box(x, top, x + width, floor, door)
    for row in range(2):
        y = top + (0.08 + 0.46 * row) * (floor - top)
        height = 0.34 * (floor - top)
        for column in range(2):
            left = x + width * (0.12 + 0.42 * column)
            pen.box(left, y, left + width * 0.34, y + height, shade(door, 0.8))
    pen.ellipse(
        x + width * 0.88,
        (top + floor) / 2,
        x + width * 0.97,
        (top + floor) / 2 + 0.03,
        (206, 178, 90),
    )
    pen.polygon(
        [(x - 0.01, floor + 0.02), (x + width + 0.01, floor + 0.02),
         (x + width + 0.05, floor + 0.11),
         (x - 0.05, floor + 0.11)],
        shade((104, 84, 62), rng.uniform(0.7, 1.2)),
    )  # fmt: skip
    pen.rounded(x + width + 0.05, 0.2, x + width + 0.085, 0.29, (250, 232, 170), 0.4)
    other = 0.03 if x > 0.42 else 0.74
    if rng.random() < 0.7:
        _window(pen, other, 0.12, other + rng.uniform(0.16, 0.2), 0.42, rng.random() < 0.5)
    if rng.random() < 0.6:
        _bush(pen, other + 0.1, floor + 0.03, 0.16, rng)


def _driveway(pen: Pen, scene: Scene, rng: random.Random) -> None:
    horizon = rng.uniform(0.44, 0.52)
    pen.box(0, 0, 1, horizon, _sky(scene, rng))
    lawn = _lawn(scene, rng)
    pen.box(0, horizon, 1, 1, lawn)
    wall = shade(rng.choice(WALLS), rng.uniform(0.9, 1.1))
    left = rng.uniform(0.12, 0.34)
    right = left + rng.uniform(0.42, 0.52)
    pen.box(left, 0.14, right, horizon + 0.04, wall)
    pen.polygon(
        [(left - 0.04, 0.15), (right + 0.04, 0.15), ((left + right) / 2, -0.06)], (92, 72, 66)
    )
    door_left, door_right = left + 0.06, right - 0.06
    pen.box(door_left, 0.22, door_right, horizon + 0.04, (226, 226, 222))
    for row in range(1, 5):
        y = 0.22 + row * (horizon + 0.04 - 0.22) / 5
        pen.line([(door_left, y), (door_right, y)], (180, 180, 178), 0.006)
    _tree(pen, left - 0.1 if left > 0.2 else right + 0.1, horizon + 0.02, 0.42, rng)
    concrete = _ground(scene, rng.choice(((164, 162, 158), (112, 112, 114), (150, 130, 112))), rng)
    if scene.weather is Weather.SNOW:
        concrete = shade(concrete, 0.86)
    pen.polygon(
        [
            (door_left - 0.02, horizon + 0.04),
            (door_right + 0.02, horizon + 0.04),
            (1.02, 1),
            (-0.02, 1),
        ],
        concrete,
    )
    middle = (door_left + door_right) / 2
    pen.line([(middle, horizon + 0.04), (0.5, 1)], shade(concrete, 0.85), 0.006)
    pen.line([(0.15, 0.75), (0.85, 0.75)], shade(concrete, 0.88), 0.005)


def _backyard(pen: Pen, scene: Scene, rng: random.Random) -> None:
    horizon = rng.uniform(0.46, 0.54)
    pen.box(0, 0, 1, horizon, _sky(scene, rng))
    _tree(pen, rng.uniform(0.05, 0.95), horizon, 0.62, rng)
    pen.box(0, horizon - 0.02, 1, 1, _lawn(scene, rng))
    wood = shade(
        rng.choice(((150, 112, 76), (128, 120, 110), (108, 78, 54))), rng.uniform(0.85, 1.15)
    )
    top = rng.uniform(0.2, 0.28)
    boards = rng.randint(18, 30)
    for board in range(boards):
        x = board / boards
        tone = shade(wood, rng.uniform(0.92, 1.08))
        pen.polygon(
            [(x, top + 0.02), (x + 0.5 / boards, top), (x + 1 / boards, top + 0.02),
             (x + 1 / boards, horizon), (x, horizon)],
            tone,
        )  # fmt: skip
        pen.line([(x, top), (x, horizon)], shade(wood, 0.7), 0.004)
    if rng.random() < 0.5:
        x = rng.choice((0.02, 0.68))
        hut = shade(rng.choice(WALLS), 0.9)
        pen.box(x, 0.2, x + 0.26, horizon + 0.04, hut)
        pen.polygon([(x - 0.03, 0.21), (x + 0.29, 0.21), (x + 0.13, 0.06)], (84, 64, 58))
        pen.box(x + 0.09, 0.28, x + 0.18, horizon + 0.04, shade(hut, 0.6))
    for _ in range(rng.randint(0, 3)):
        _bush(pen, rng.uniform(0.05, 0.95), horizon + 0.04, 0.12, rng)
    if scene.weather is not Weather.SNOW:
        for _ in range(60):
            x, y = rng.random(), rng.uniform(horizon + 0.02, 1)
            pen.line([(x, y), (x + 0.006, y - 0.02)], (84, 126, 60), 0.004)


def _street(pen: Pen, scene: Scene, rng: random.Random) -> None:
    horizon = rng.uniform(0.42, 0.48)
    pen.box(0, 0, 1, horizon, _sky(scene, rng))
    x = -rng.uniform(0, 0.15)
    while x < 1:
        width = rng.uniform(0.2, 0.34)
        top = rng.uniform(0.08, 0.22)
        wall = shade(rng.choice(WALLS), rng.uniform(0.85, 1.1))
        pen.box(x, top, x + width, horizon, wall)
        pen.polygon(
            [(x - 0.01, top), (x + width + 0.01, top), (x + width / 2, top - 0.1)], (98, 70, 64)
        )
        for column in range(2):
            left = x + width * (0.14 + 0.45 * column)
            _window(pen, left, top + 0.04, left + width * 0.26, top + 0.14, rng.random() < 0.4)
        x += width + rng.choice((0.0, 0.0, 0.06))
    pavement = _ground(scene, (172, 168, 162), rng)
    pen.box(0, horizon, 1, 1, pavement)
    top, bottom = horizon + 0.07, rng.uniform(0.84, 0.9)
    road = _ground(scene, (88, 88, 92), rng)
    if scene.weather is Weather.SNOW:
        road = shade(road, 0.8)
    pen.box(0, top, 1, bottom, road)
    pen.line([(0, top), (1, top)], shade(pavement, 0.8), 0.01)
    pen.line([(0, bottom), (1, bottom)], shade(pavement, 0.8), 0.014)
    middle, shift = (top + bottom) / 2 - 0.01, rng.random() / 7
    for dash in range(7):
        start = shift + dash / 7 - 0.05
        pen.polygon(
            [(start, middle), (start + 0.08, middle), (start + 0.085, middle + 0.015),
             (start - 0.002, middle + 0.015)],
            (228, 226, 216),
        )  # fmt: skip
    if rng.random() < 0.6:
        post = rng.uniform(0.05, 0.95)
        pen.line([(post, horizon + 0.06), (post, 0.04), (post + 0.06, 0.03)], (74, 76, 78), 0.014)
        pen.ellipse(post + 0.04, 0.02, post + 0.09, 0.055, (250, 240, 200))
    elif rng.random() < 0.6:
        _tree(pen, rng.uniform(0.05, 0.95), horizon + 0.05, 0.44, rng)


_PLACES: dict[Place, Callable[[Pen, Scene, random.Random], None]] = {
    Place.FRONT_DOOR: _front_door,
    Place.DRIVEWAY: _driveway,
    Place.BACKYARD: _backyard,
    Place.STREET: _street,
}
