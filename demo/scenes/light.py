"""Night, weather, lens and sensor: what happens to a drawn picture on its way through a camera."""

import random
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from demo.scenes.scene import Place, Scene, Weather

Pixels = NDArray[np.float32]  # (H, W, 3), 0..255


def expose(image: Image.Image, scene: Scene, frame: int = 0) -> Image.Image:
    """The picture as the camera of the scene sees it.

    Args:
        image: The drawn scene in plain daylight.
        scene: Says hour and weather.
        frame: Number of the frame; rain, flakes and noise differ between frames, light does not.
    """
    light = random.Random(scene.seed ^ 0x11647)
    moment = random.Random(f"{scene.seed} {frame}")
    blurred = image.filter(ImageFilter.BoxBlur(image.width / 1600))
    pixels = np.asarray(blurred, dtype=np.float32)
    if scene.weather is Weather.FOG:
        pixels = _fog(pixels, light.uniform(0.25, 0.5))
    pixels = _night(pixels, scene, light) if scene.is_night else _day(pixels, scene, light)
    if scene.weather in (Weather.RAIN, Weather.SNOW):
        pixels = _precipitate(pixels, scene, moment)
    strength = moment.uniform(4, 11) if scene.is_night else moment.uniform(0, 7)
    pixels = pixels + strength * _noise(pixels.shape[0], pixels.shape[1], moment)
    seen = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    if light.random() < 0.5:
        _stamp(seen, scene, frame)
    return seen


def _fog(pixels: Pixels, depth: float) -> Pixels:
    # Thinner near the camera, at the bottom of the picture.
    rows = np.linspace(1.3, 0.6, pixels.shape[0], dtype=np.float32)[:, None, None] * depth
    return np.asarray(pixels * (1 - rows) + np.float32(200) * rows, np.float32)


def _day(pixels: Pixels, scene: Scene, rng: random.Random) -> Pixels:
    dull = {Weather.CLEAR: 1.06, Weather.RAIN: 0.78, Weather.CLOUDY: 0.92}.get(scene.weather, 0.95)
    gain = dull * rng.uniform(0.9, 1.1)
    tint = np.array([rng.uniform(0.96, 1.04), 1.0, rng.uniform(0.96, 1.04)], dtype=np.float32)
    return np.asarray(pixels * (tint * np.float32(gain)), np.float32)


def _night(pixels: Pixels, scene: Scene, rng: random.Random) -> Pixels:
    height, width = pixels.shape[:2]
    if scene.is_infrared:
        grey = pixels @ np.array([0.35, 0.45, 0.2], dtype=np.float32)
        # The camera's own lamp: bright in the middle, dark towards the corners.
        glow = _pool(height, width, 0.5, 0.62, rng.uniform(0.55, 0.8))
        lit = grey * (np.float32(rng.uniform(0.2, 0.3)) + np.float32(0.62) * glow)
        seen: Pixels = np.repeat(lit[:, :, None], 3, axis=2)
        return seen
    lamp_x = rng.uniform(0.25, 0.75)
    reach = 0.6 if scene.place in (Place.FRONT_DOOR, Place.STREET) else 0.5
    glow = _pool(height, width, lamp_x, rng.uniform(0.5, 0.75), reach)[:, :, None]
    ambient = np.array([0.26, 0.29, 0.38], dtype=np.float32) * np.float32(rng.uniform(0.8, 1.15))
    lamp = np.array([0.62, 0.52, 0.34], dtype=np.float32) * np.float32(rng.uniform(0.7, 1.1))
    return np.asarray(pixels * (ambient + lamp * glow), np.float32)


def _pool(height: int, width: int, x: float, y: float, reach: float) -> NDArray[np.float32]:
    """A pool of light, 1 in its middle."""
    across = (np.linspace(0, 1, width, dtype=np.float32) - np.float32(x)) / np.float32(reach)
    down = (np.linspace(0, 1, height, dtype=np.float32) - np.float32(y)) / np.float32(reach)
    light: NDArray[np.float32] = np.exp(-(down**2))[:, None] * np.exp(-(across**2))[None, :]
    return light


def _precipitate(pixels: Pixels, scene: Scene, rng: random.Random) -> Pixels:
    height, width = pixels.shape[:2]
    layer = Image.new("L", (width, height))
    draw = ImageDraw.Draw(layer)
    if scene.weather is Weather.RAIN:
        slant = rng.uniform(-0.2, 0.2)
        for _ in range(rng.randint(90, 180)):
            x, y = rng.random() * width, rng.random() * height
            length = height * rng.uniform(0.03, 0.08)
            draw.line([(x, y), (x + slant * length, y + length)], fill=95, width=1 + width // 900)
    else:
        for _ in range(rng.randint(120, 260)):
            x, y = rng.random() * width, rng.random() * height
            radius = height * rng.uniform(0.002, 0.006)
            draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=205)
    veil = np.asarray(layer, dtype=np.float32)[:, :, None] / 255
    bright = np.float32(150 if scene.is_night else 235)
    return np.asarray(pixels * (1 - veil) + bright * veil, np.float32)


@cache
def _noise_bank() -> NDArray[np.float32]:
    # One bank for all frames: drawing fresh noise would cost more than drawing the scene.
    return np.random.default_rng(7).standard_normal((1024, 2048), dtype=np.float32)


def _noise(height: int, width: int, rng: random.Random) -> NDArray[np.float32]:
    bank = _noise_bank()
    top, left = rng.randrange(bank.shape[0] - height), rng.randrange(bank.shape[1] - width)
    return bank[top : top + height, left : left + width, None]


def _stamp(image: Image.Image, scene: Scene, frame: int) -> None:
    """The camera's name and clock in a corner, as most cameras print them."""
    draw = ImageDraw.Draw(image)
    hour = (22 + scene.seed % 7) % 24 if scene.is_night else 9 + scene.seed % 8
    text = f"CAM {scene.seed % 8 + 1}  {hour:02}:{scene.seed // 7 % 60:02}:{frame % 60:02}"
    draw.text(
        (image.width * 0.015, image.height * 0.015),
        text,
        fill=(240, 240, 240),
        font=_font(image.height),
    )


@cache
def _font(height: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=height / 28)
