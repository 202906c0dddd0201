import io
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance

from engine.fingerprint import Scenes, Seen, fingerprint, from_bytes, likeness, to_bytes
from tests.support.factories import make_picture

SAME = 0.97


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def noisy(image: Image.Image, sigma: float, seed: int) -> Image.Image:
    noise = np.random.default_rng(seed).normal(0, sigma, (image.height, image.width, 1))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def with_figure(image: Image.Image, share: float, contrast: int) -> Image.Image:
    """A standing figure of this share of the picture, darker or brighter by so many levels."""
    changed = image.copy()
    height = (image.width * image.height * share * 3) ** 0.5
    left, top = image.width * 0.61, image.height * 0.43
    box = (int(left), int(top), int(left + height / 3), int(top + height))
    region = changed.crop(box).point(lambda level: level + contrast)
    changed.paste(region, box[:2])
    return changed


SCENE = make_picture(3, (640, 480))


def compare(one: Image.Image, other: Image.Image) -> float:
    return likeness(fingerprint(one), fingerprint(other))


@pytest.mark.parametrize(
    "again",
    [
        SCENE,
        jpeg(SCENE, 40),
        noisy(SCENE, 12.0, seed=1),
        ImageEnhance.Brightness(SCENE).enhance(1.02),
        Image.eval(SCENE, lambda level: min(255, level + 8)),
        SCENE.resize((320, 240)),
    ],
    ids=["itself", "jpeg", "noise", "gain", "daylight", "substream"],
)
def test_likeness_of_the_same_scene_is_high(again: Image.Image) -> None:
    assert compare(jpeg(noisy(SCENE, 4.0, seed=2), 85), again) >= SAME


@pytest.mark.parametrize("share", [0.01, 0.02, 0.1])
@pytest.mark.parametrize("contrast", [-25, 25])
def test_likeness_of_a_scene_with_a_figure_is_low(share: float, contrast: int) -> None:
    plain = Image.new("RGB", (640, 480), (110, 115, 105))
    assert compare(plain, with_figure(plain, share, contrast)) < SAME


def test_likeness_of_other_scenes_is_low() -> None:
    assert all(compare(SCENE, make_picture(seed, (640, 480))) < 0.5 for seed in range(4, 14))


def test_likeness_sees_a_clock_in_the_corner_as_no_change() -> None:
    one, other = SCENE.copy(), SCENE.copy()
    ImageDraw.Draw(one).text((8, 8), "2026-01-01 12:00:01", fill="white")
    ImageDraw.Draw(other).text((8, 8), "2026-01-01 12:00:47", fill="white")
    assert compare(one, other) >= SAME


@dataclass
class Hands:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def look(
    scenes: Scenes,
    key: str,
    image: Image.Image,
    *,
    camera: str = "front",
    importance: int = 0,
    last: Seen | None = None,
) -> str | None:
    match = scenes.match_or_add(
        camera,
        key,
        fingerprint(image),
        similarity=SAME,
        window_s=60.0,
        importance=importance,
        last=last,
    )
    return match[0] if match else None


def test_scenes_match_within_the_window_only_and_it_does_not_slide() -> None:
    hands = Hands()
    scenes = Scenes(hands)
    assert look(scenes, "a", SCENE) is None
    hands.now = 59.0
    assert look(scenes, "b", SCENE) == "a"
    hands.now = 61.0
    assert look(scenes, "c", SCENE) is None


def test_scenes_compare_with_the_newest_only() -> None:
    scenes = Scenes(Hands())
    other = make_picture(4, (640, 480))
    assert look(scenes, "empty", SCENE) is None
    assert look(scenes, "visitor", other) is None
    assert look(scenes, "empty-again", SCENE) is None


def test_scenes_forget_what_got_no_caption() -> None:
    scenes = Scenes(Hands())
    look(scenes, "a", SCENE)
    look(scenes, "b", make_picture(4, (640, 480)))
    scenes.forget("front", "b")
    assert look(scenes, "c", SCENE) == "a"
    scenes.forget("front", "a")
    assert look(scenes, "d", SCENE) is None


def test_scenes_of_greater_importance_are_new() -> None:
    scenes = Scenes(Hands())
    look(scenes, "a", SCENE, importance=1)
    assert look(scenes, "b", SCENE, importance=1) == "a"
    assert look(scenes, "c", SCENE, importance=2) is None
    assert look(scenes, "d", SCENE, importance=1) == "c"


def test_scenes_keep_cameras_apart() -> None:
    scenes = Scenes(Hands())
    look(scenes, "a", SCENE, camera="front")
    assert look(scenes, "b", SCENE, camera="back") is None


def test_scenes_do_not_match_a_job_with_itself() -> None:
    scenes = Scenes(Hands())
    look(scenes, "a", SCENE)
    assert look(scenes, "a", SCENE) is None


OTHER = make_picture(4, (640, 480))


def seen(key: str, at: float, image: Image.Image = SCENE, importance: int = 0) -> Seen:
    """A frame of another engine, or of this one before it was started again."""
    return Seen(key, at, importance, fingerprint(image))


def test_scenes_know_the_frame_that_comes_with_another() -> None:
    scenes = Scenes(Hands(100.0))
    assert look(scenes, "b", SCENE, last=seen("a", 90.0)) == "a"
    assert look(scenes, "c", OTHER, last=seen("a", 90.0)) is None


def test_scenes_apply_window_and_importance_to_a_frame_from_outside() -> None:
    scenes = Scenes(Hands(100.0))
    assert look(scenes, "b", SCENE, last=seen("a", 39.0)) is None
    assert look(Scenes(Hands(100.0)), "b", SCENE, last=seen("a", 90.0), importance=1) is None


def test_scenes_take_the_newer_of_the_frames_known_here_and_outside() -> None:
    hands = Hands(100.0)
    scenes = Scenes(hands)
    assert look(scenes, "own", SCENE) is None
    hands.now = 110.0
    assert look(scenes, "b", SCENE, last=seen("older", 90.0, OTHER)) == "own"
    assert look(scenes, "c", OTHER, last=seen("newer", 105.0, OTHER)) == "newer"


def test_scenes_hold_a_frame_from_outside_against_one_frame_only() -> None:
    """Its caption may fail, and only the next frame's companion says so."""
    scenes = Scenes(Hands(100.0))
    assert look(scenes, "b", OTHER, last=seen("a", 90.0)) is None
    scenes.forget("front", "b")
    assert look(scenes, "c", SCENE) is None


def test_scenes_do_not_match_a_job_with_its_own_frame_from_before() -> None:
    scenes = Scenes(Hands(100.0))
    assert look(scenes, "a", SCENE, last=seen("a", 90.0)) is None


def test_fingerprint_that_travelled_is_the_same() -> None:
    print_ = fingerprint(SCENE)
    back = from_bytes(to_bytes(print_))
    assert back is not None
    assert (back == print_).all()
    assert len(to_bytes(print_)) < 1100


@pytest.mark.parametrize("data", [b"", b"\x01", b"\x02" + bytes(1024), bytes(1025)])
def test_fingerprint_of_another_measure_is_none(data: bytes) -> None:
    assert from_bytes(data) is None


def test_scenes_of_many_cameras_are_bounded() -> None:
    scenes = Scenes(Hands())
    print_ = fingerprint(SCENE)
    for number in range(3000):
        scenes.match_or_add(f"c{number}", "a", print_, similarity=SAME, window_s=60.0, importance=0)
    assert len(scenes._cameras) <= 1024
