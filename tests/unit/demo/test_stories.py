import numpy as np
import pytest
from PIL import Image

from demo.language import is_night_said, kinds_named, sides_named, sides_true
from demo.scenes.scene import Kind, Place
from demo.stories import motion_between, tell

SIZE = (320, 240)


@pytest.mark.parametrize("place", list(Place))
def test_tell_captions_are_true_and_motion_is_a_share(place: Place) -> None:
    for seed in range(6):
        for frame in tell(place, SIZE, seed):
            assert frame.image.size == SIZE
            assert 0 <= frame.motion_intensity <= 1
            assert kinds_named(frame.caption) == {thing.kind for thing in frame.scene.things}
            assert sides_named(frame.caption) == sides_true(frame.scene)
            assert is_night_said(frame.caption) is frame.scene.is_night


def test_tell_same_seed_same_story() -> None:
    first, second = (list(tell(Place.FRONT_DOOR, SIZE, 4)) for _ in range(2))
    assert [frame.caption for frame in first] == [frame.caption for frame in second]
    assert first[2].image.tobytes() == second[2].image.tobytes()


def test_tell_courier_brings_a_package_and_leaves_it() -> None:
    stories = [list(tell(Place.FRONT_DOOR, SIZE, seed)) for seed in range(12)]
    courier = next(s for s in stories if any(thing.carried for thing in s[0].scene.things))
    assert {thing.kind for thing in courier[0].scene.things} == {Kind.PERSON, Kind.PACKAGE}
    assert [thing.kind for thing in courier[-1].scene.things] == [Kind.PACKAGE]
    assert max(frame.motion_intensity for frame in courier) > 0.4


def test_motion_between_equal_pictures_is_zero_and_grows_with_the_change() -> None:
    still = Image.fromarray(np.full((240, 320, 3), 60, np.uint8))
    small, large = still.copy(), still.copy()
    small.paste((200, 200, 200), (0, 0, 40, 30))
    large.paste((200, 200, 200), (0, 0, 200, 200))
    assert motion_between(still, still) == 0
    assert 0 < motion_between(still, small) < motion_between(still, large) <= 1
