import random

import numpy as np
import pytest

from demo.language import Length
from demo.scenes.scene import Kind, draw_scene
from demo.training.lessons import (
    COORD,
    COORDINATE,
    EOS,
    SIZE,
    TOKEN,
    Prompts,
    grid_truth,
    make_lesson,
    object_steps,
    text_steps,
)
from demo.training.vocabulary import SPECIAL, learn_vocabulary

VOCABULARY = learn_vocabulary(0)
SCENE = next(scene for scene in map(draw_scene, range(100)) if len(scene.of(Kind.PERSON)) == 2)


def encode(text: str) -> list[int]:
    ids: list[int] = VOCABULARY.encode(text, add_special_tokens=False).ids
    return ids


def test_vocabulary_has_special_ids_in_place_and_spells_anything() -> None:
    assert [VOCABULARY.token_to_id(token) for token in SPECIAL] == list(range(10))
    assert VOCABULARY.decode(encode("Ein Hund, 2 Äpfel 🐕")) == "Ein Hund, 2 Äpfel 🐕"
    assert len(encode(" bicycle")) == 1


def test_text_steps_teach_the_answer_and_the_end() -> None:
    steps = text_steps([1, 20, 3], [40, 41], weight=3.0)
    assert [step.token for step in steps] == [1, 20, 3, 40, 41]
    assert [step.next_token for step in steps] == [-1, -1, 40, 41, EOS]
    assert [step.weight for step in steps] == [1, 1, 3, 1, 1]


def test_object_steps_follow_the_detect_loop() -> None:
    people = SCENE.of(Kind.PERSON)
    steps = object_steps([1, 30, 3], people, SCENE, with_size=True, rng=random.Random(0))
    kinds = [step.kind for step in steps]
    assert kinds == [TOKEN] * 3 + [COORDINATE, COORDINATE, SIZE] * 2
    assert [step.next_token for step in steps] == [-1, -1, COORD, -1, -1, COORD, -1, -1, EOS]
    first, second = SCENE.boxes(Kind.PERSON)
    assert steps[2].next_coordinate == first.x
    assert steps[3].next_coordinate == first.y
    assert steps[4].next_size == (first.width, first.height)
    assert steps[5].next_coordinate == second.x
    assert steps[3].value[0] == pytest.approx(first.x, abs=0.05)


def test_object_steps_of_nothing_end_at_once() -> None:
    steps = object_steps([1, 30, 3], [], SCENE, with_size=True, rng=random.Random(0))
    assert [step.next_token for step in steps] == [-1, -1, EOS]


def test_make_lesson_packs_whole_tasks_at_their_own_positions() -> None:
    prompts = Prompts.of(encode)
    lesson = make_lesson(SCENE, encode, prompts, random.Random(0), length=200, prefix_length=65)
    assert len(lesson.tokens) == 200
    for number in range(1, lesson.segments.max() + 1):
        places = np.flatnonzero(lesson.segments == number)
        if len(places):
            assert lesson.positions[places].tolist() == list(range(65, 65 + len(places)))
            # Every task ends by teaching the end token.
            assert lesson.next_tokens[places[-1]] == EOS
    assert (lesson.next_tokens[lesson.segments == -1] == -1).all()


def test_prompts_have_a_caption_for_every_length() -> None:
    assert set(Prompts.of(encode).caption) == set(Length)


def test_grid_truth_marks_the_middle_of_every_thing() -> None:
    truth = grid_truth(SCENE, 8)
    for thing in SCENE.things:
        box = thing.box(SCENE.size)
        cell = int(box.y * 8) * 8 + int(box.x * 8)
        kind = list(Kind).index(thing.kind)
        assert truth.centre[cell, kind] == 1
        assert truth.cover[cell, kind] > 0
    assert truth.has_box.sum() <= len(SCENE.things)
