"""From a scene to the picture a camera would send."""

from PIL import Image, ImageDraw

from demo.scenes.figures import draw_thing
from demo.scenes.light import expose
from demo.scenes.places import draw_place
from demo.scenes.scene import Scene, Thing, Weather


def render(scene: Scene, frame: int = 0) -> Image.Image:
    """Draw a scene as an RGB image of `scene.size` pixels.

    Args:
        scene: What is there.
        frame: Number of the frame in a story; only rain, snow flakes, noise and the clock depend
            on it.
    """
    image = Image.new("RGB", scene.size)
    draw = ImageDraw.Draw(image)
    draw_place(draw, scene)
    # What stands farther away is drawn first, and what is carried after the one who carries it.
    for thing in sorted(scene.things, key=lambda t: (t.carried, t.base)):
        if not thing.carried:
            _draw_shadow(image, draw, scene, thing)
        draw_thing(draw, scene.size, thing)
    return expose(image, scene, frame)


def _draw_shadow(image: Image.Image, draw: ImageDraw.ImageDraw, scene: Scene, thing: Thing) -> None:
    box = thing.box(scene.size)
    x, y = box.x * image.width, thing.base * image.height
    half = box.width * image.width * 0.52
    depth = max(2.0, thing.height * image.height * 0.05)
    under = image.getpixel((min(image.width - 1, max(0, int(x))), min(image.height - 1, int(y))))
    strength = 0.6 if scene.weather is Weather.CLEAR else 0.78
    colour = tuple(int(part * strength) for part in under)  # type: ignore[union-attr]
    draw.ellipse([x - half, y - depth, x + half, y + depth * 0.8], fill=colour)
