import random

import pytest

from demo.language import (
    LABELS,
    Length,
    Side,
    Topic,
    ask,
    caption,
    is_night_said,
    kinds_named,
    labelled,
    pick_label,
    side_of,
    sides_named,
    sides_true,
)
from demo.scenes.scene import Kind, Scene, draw_scene

SCENES = [draw_scene(seed) for seed in range(300)]


@pytest.mark.parametrize("length", list(Length))
def test_caption_names_what_is_there_and_nothing_else(length: Length) -> None:
    rng = random.Random(0)
    for scene in SCENES:
        text = caption(scene, length, rng)
        assert kinds_named(text) == {thing.kind for thing in scene.things}, text
        assert is_night_said(text) is scene.is_night, text


def test_caption_normal_puts_every_thing_on_its_side() -> None:
    rng = random.Random(0)
    for scene in SCENES:
        text = caption(scene, Length.NORMAL, rng)
        assert sides_named(text) == sides_true(scene), text


def test_caption_has_several_wordings() -> None:
    scene = SCENES[0]
    assert len({caption(scene, Length.NORMAL, random.Random(seed)) for seed in range(20)}) > 1


def test_sides_named_reads_numbers_and_lists() -> None:
    text = "Two dogs are standing on the left and a red car is parked on the right. It is night."
    assert sides_named(text) == sorted(
        [(Kind.DOG, Side.LEFT), (Kind.DOG, Side.LEFT), (Kind.CAR, Side.RIGHT)]
    )


def answer(scene: Scene, topic: Topic, word: str) -> str:
    """The answer to the first question on a topic that contains a word."""
    rng = random.Random(0)
    while word not in (question := ask(scene, rng, topic)).text or question.topic is not topic:
        pass
    return question.answer


def test_ask_answers_follow_from_the_scene() -> None:
    numbers = ["None", "One", "Two", "Three"]
    for scene in SCENES[:60]:
        cars = scene.of(Kind.CAR)
        assert answer(scene, Topic.COUNT, "cars") == numbers[len(cars)]
        assert answer(scene, Topic.PRESENCE, "car") == ("Yes" if cars else "No")
        assert answer(scene, Topic.HOUR, "night") == ("Night" if scene.is_night else "Day")


def test_ask_side_and_colour_of_a_single_thing() -> None:
    scene = next(s for s in SCENES if len(s.of(Kind.CAR)) == 1 and not s.is_infrared)
    (car,) = scene.of(Kind.CAR)
    assert answer(scene, Topic.COLOUR, "car").lower() == car.colour
    assert answer(scene, Topic.SIDE, "car").lower() == side_of(car, scene)


def test_ask_colour_in_infrared_admits_darkness() -> None:
    scene = next(s for s in SCENES if s.is_infrared and len(s.of(Kind.CAR)) == 1)
    assert answer(scene, Topic.COLOUR, "car") == "It is too dark to tell"


def test_ask_presence_of_nothing_is_no() -> None:
    empty = next(scene for scene in SCENES if not scene.things)
    rng = random.Random(0)
    assert {ask(empty, rng, topic).answer for topic in (Topic.PRESENCE, Topic.SIDE)} == {"No"}


def test_labels_mean_their_kinds() -> None:
    scene = next(s for s in SCENES if s.of(Kind.DOG) and s.of(Kind.PERSON))
    assert labelled(scene, "dog") == scene.of(Kind.DOG)
    assert labelled(scene, "people") == scene.of(Kind.PERSON)
    assert labelled(scene, "horse") == []
    assert {pick_label(scene, random.Random(seed)) for seed in range(300)} == set(LABELS)
