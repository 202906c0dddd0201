from dataclasses import replace

import pytest

from demo.scenes.scene import (
    EVALUATION_SEEDS,
    SIZES,
    STORY_SEEDS,
    Box,
    Kind,
    Place,
    Scene,
    draw_scene,
)

SCENES = [draw_scene(seed) for seed in range(400)]


def test_draw_scene_same_seed_same_scene() -> None:
    assert draw_scene(17) == draw_scene(17)
    assert draw_scene(17) != draw_scene(18)


def test_seeds_of_training_evaluation_and_stories_cannot_meet() -> None:
    assert 10_000_000 < EVALUATION_SEEDS < EVALUATION_SEEDS + 10_000_000 < STORY_SEEDS


def test_draw_scene_uses_every_place_kind_size_and_hour() -> None:
    assert {scene.place for scene in SCENES} == set(Place)
    assert {scene.size for scene in SCENES} == set(SIZES)
    assert {thing.kind for scene in SCENES for thing in scene.things} == set(Kind)
    assert {scene.is_night for scene in SCENES} == {True, False}
    assert {len(scene.things) for scene in SCENES} >= {0, 1, 2, 3, 4}
    assert max(len(scene.of(kind)) for scene in SCENES for kind in Kind) == 3


@pytest.mark.parametrize("scene", SCENES[:60], ids=lambda scene: str(scene.seed))
def test_draw_scene_things_are_ordered_and_mostly_in_the_picture(scene: Scene) -> None:
    boxes = scene.boxes()
    assert [box.x for box in boxes] == sorted(box.x for box in boxes)
    for thing, box in zip(scene.things, boxes, strict=True):
        assert 0 <= box.x_min < box.x_max <= 1
        assert 0 <= box.y_min < box.y_max <= 1
        assert box.height == pytest.approx(thing.height, abs=0.02)


def test_draw_scene_infrared_only_at_night_and_no_car_in_the_backyard() -> None:
    assert all(scene.is_night for scene in SCENES if scene.is_infrared)
    assert not any(scene.of(Kind.CAR) for scene in SCENES if scene.place is Place.BACKYARD)


def test_mirrored_exchanges_left_and_right() -> None:
    scene = next(scene for scene in SCENES if len(scene.things) > 2)
    there = scene.mirrored()
    assert [thing.kind for thing in there.things] == [t.kind for t in reversed(scene.things)]
    for box, other in zip(scene.boxes(), reversed(there.boxes()), strict=True):
        assert other.x == pytest.approx(1 - box.x)
    back = there.mirrored()
    assert [replace(t, x=round(t.x, 9)) for t in back.things] == [
        replace(t, x=round(t.x, 9)) for t in scene.things
    ]


def test_iou_of_half_overlapping_boxes_is_a_third() -> None:
    assert Box(0, 0, 0.2, 1).iou(Box(0.1, 0, 0.3, 1)) == pytest.approx(1 / 3)
    assert Box(0, 0, 0.2, 1).iou(Box(0.5, 0, 0.7, 1)) == 0


def test_motion_intensity_is_zero_without_moving_things() -> None:
    empty = next(scene for scene in SCENES if not scene.things)
    assert empty.motion_intensity == 0
    busy = max(SCENES, key=lambda scene: scene.motion_intensity)
    assert 0.5 < busy.motion_intensity <= 1
