"""What the model is taught about one picture: several tasks in one sequence.

The image prefix is the costly part, so a picture's caption, questions and objects share it. Each
task is a segment that sees the prefix and itself, at the positions it would have alone. Inputs and
targets follow the inference protocol step by step: a text token is predicted from the token before
it; for objects the coordinate is predicted from the last prompt token or the last size, the second
coordinate from the first one's embedding, and so on until the end token.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demo.language import Length, Topic, ask, caption, labelled, pick_label
from demo.scenes.scene import Kind, Scene, Thing

Encode = Callable[[str], list[int]]

ANSWER, COORD, EOS = 3, 5, 0
#: Kinds of an input embedding.
TOKEN, COORDINATE, SIZE = 0, 1, 2
#: Weight of the tokens that decide an answer; the words of a caption weigh 1.
_DECISIVE = 3.0


@dataclass(frozen=True, slots=True)
class Prompts:
    """Token ids around each task; the same as in the model's `config.json`."""

    caption: dict[Length, list[int]]
    query: list[int]
    detect: list[int]
    point: list[int]

    @classmethod
    def of(cls, encode: Encode) -> "Prompts":
        """Build the prompts from the words of a vocabulary."""
        return cls(
            caption={
                length: [1, *encode("describe"), 2, *encode(length), ANSWER] for length in Length
            },
            query=[1, *encode("query"), 2],
            detect=[1, *encode("detect"), 2],
            point=[1, *encode("point"), 2],
        )


@dataclass(slots=True)
class Step:
    """One position: what goes in, and what should come out."""

    token: int = EOS
    kind: int = TOKEN
    value: tuple[float, float] = (0.0, 0.0)
    #: -1: nothing is taught here.
    next_token: int = -1
    weight: float = 1.0
    #: Coordinate or (width, height) to predict; negative when there is none.
    next_coordinate: float = -1.0
    next_size: tuple[float, float] = (-1.0, -1.0)


def text_steps(prompt: list[int], answer: list[int], weight: float = 1.0) -> list[Step]:
    """A prompt answered by text; the first token of the answer has the weight."""
    steps = [Step(token=token) for token in [*prompt, *answer]]
    for index, token in enumerate([*answer, EOS]):
        steps[len(prompt) - 1 + index].next_token = token
    steps[len(prompt) - 1].weight = weight
    return steps


def object_steps(
    prompt: list[int], things: list[Thing], scene: Scene, *, with_size: bool, rng: random.Random
) -> list[Step]:
    """A prompt answered by boxes or points.

    Coordinates are fed back a little wrong, since at inference the model reads its own.
    """
    steps = [Step(token=token) for token in prompt]
    for thing in things:
        box = thing.box(scene.size)
        steps[-1].next_token, steps[-1].weight = COORD, _DECISIVE
        steps[-1].next_coordinate = box.x
        steps.append(Step(kind=COORDINATE, value=(_near(box.x, rng), 0.0)))
        steps[-1].next_coordinate = box.y
        steps.append(Step(kind=COORDINATE, value=(_near(box.y, rng), 0.0)))
        if with_size:
            steps[-1].next_size = (box.width, box.height)
            width, height = (
                box.width * rng.uniform(0.95, 1.05),
                box.height * rng.uniform(0.95, 1.05),
            )
            steps.append(Step(kind=SIZE, value=(width, height)))
    steps[-1].next_token, steps[-1].weight = EOS, _DECISIVE
    return steps


def _near(value: float, rng: random.Random) -> float:
    return min(0.999, max(0.0, value + rng.gauss(0, 0.008)))


def segments(
    scene: Scene, encode: Encode, prompts: Prompts, rng: random.Random
) -> Iterator[list[Step]]:
    """Tasks about a scene, the most useful first, without end."""

    def describe(length: Length) -> list[Step]:
        return text_steps(prompts.caption[length], encode(caption(scene, length, rng)))

    def question(topic: Topic | None = None) -> list[Step]:
        asked = ask(scene, rng, topic)
        prompt = [*prompts.query, *encode(asked.text), ANSWER, ANSWER]
        return text_steps(prompt, encode(asked.answer), _DECISIVE)

    def objects(prefix: list[int], *, with_size: bool) -> list[Step]:
        label = pick_label(scene, rng)
        prompt = [*prefix, *encode(f" {label}"), ANSWER]
        return object_steps(prompt, labelled(scene, label), scene, with_size=with_size, rng=rng)

    yield describe(Length.NORMAL)
    yield objects(prompts.detect, with_size=True)
    yield objects(prompts.point, with_size=False)
    yield describe(rng.choice((Length.SHORT, Length.SHORT, Length.LONG)))
    yield question(Topic.PRESENCE)
    yield question(Topic.COUNT)
    while True:
        yield objects(prompts.detect, with_size=True)
        yield question()
        yield question()


@dataclass(slots=True)
class Lesson:
    """The tasks about one picture as arrays of the same length."""

    tokens: NDArray[np.int64]
    kinds: NDArray[np.int64]
    values: NDArray[np.float32]  # (L, 2)
    positions: NDArray[np.int64]
    #: Number of the task from 1 on; 0 is the image prefix, -1 padding.
    segments: NDArray[np.int64]
    next_tokens: NDArray[np.int64]
    weights: NDArray[np.float32]
    next_coordinates: NDArray[np.float32]
    next_sizes: NDArray[np.float32]  # (L, 2)


def make_lesson(
    scene: Scene,
    encode: Encode,
    prompts: Prompts,
    rng: random.Random,
    *,
    length: int,
    prefix_length: int,
) -> Lesson:
    """Pack tasks about a scene into `length` positions after the image prefix."""
    steps: list[Step] = []
    positions: list[int] = []
    numbers: list[int] = []
    misfits = 0
    for number, segment in enumerate(segments(scene, encode, prompts, rng), start=1):
        if len(steps) + len(segment) > length:
            misfits += 1
            if misfits == 3:
                break
            continue
        steps += segment
        positions += range(prefix_length, prefix_length + len(segment))
        numbers += [number] * len(segment)
    spare = length - len(steps)
    steps += [Step()] * spare
    return Lesson(
        tokens=np.array([step.token for step in steps]),
        kinds=np.array([step.kind for step in steps]),
        values=np.array([step.value for step in steps], np.float32),
        positions=np.array(positions + [prefix_length] * spare),
        segments=np.array(numbers + [-1] * spare),
        next_tokens=np.array([step.next_token for step in steps]),
        weights=np.array([step.weight for step in steps], np.float32),
        next_coordinates=np.array([step.next_coordinate for step in steps], np.float32),
        next_sizes=np.array([step.next_size for step in steps], np.float32),
    )


#: Colours that the grid names, by index.
COLOUR_NAMES = (
    "red", "blue", "green", "yellow", "black", "white", "grey", "orange", "brown"
)  # fmt: skip


@dataclass(slots=True)
class GridTruth:
    """What each cell of the image grid should know; only used while training."""

    cover: NDArray[np.float32]  # (cells, kinds) part of the cell inside a thing's box
    centre: NDArray[np.float32]  # (cells, kinds) 1 where a thing's middle is
    box: NDArray[np.float32]  # (cells, 4) offset of the middle, log of the sizes
    has_box: NDArray[np.float32]  # (cells,) 1 where `box` means something
    colour: NDArray[np.int64]  # (cells,) index into COLOUR_NAMES, -1 unknown


def grid_truth(scene: Scene, grid: int) -> GridTruth:
    """Spread a scene's things over a grid of cells."""
    kinds = list(Kind)
    truth = GridTruth(
        cover=np.zeros((grid, grid, len(kinds)), np.float32),
        centre=np.zeros((grid, grid, len(kinds)), np.float32),
        box=np.zeros((grid, grid, 4), np.float32),
        has_box=np.zeros((grid, grid), np.float32),
        colour=np.full((grid, grid), -1, np.int64),
    )
    edges = np.arange(grid, dtype=np.float32) / grid
    for thing in sorted(scene.things, key=lambda t: (t.carried, t.base)):
        box, kind = thing.box(scene.size), kinds.index(thing.kind)
        across = np.clip(
            np.minimum(edges + 1 / grid, box.x_max) - np.maximum(edges, box.x_min), 0, 1
        )
        down = np.clip(np.minimum(edges + 1 / grid, box.y_max) - np.maximum(edges, box.y_min), 0, 1)
        covered = np.outer(down, across) * grid**2
        truth.cover[..., kind] = np.maximum(truth.cover[..., kind], covered)
        column, row = min(grid - 1, int(box.x * grid)), min(grid - 1, int(box.y * grid))
        truth.centre[row, column, kind] = 1
        truth.box[row, column] = (
            box.x * grid - column - 0.5,
            box.y * grid - row - 0.5,
            np.log(box.width * grid),
            np.log(box.height * grid),
        )
        truth.has_box[row, column] = 1
        is_coloured = not scene.is_infrared and thing.kind is not Kind.PACKAGE
        truth.colour[row, column] = COLOUR_NAMES.index(thing.colour) if is_coloured else -1
    return GridTruth(
        cover=truth.cover.reshape(-1, len(kinds)),
        centre=truth.centre.reshape(-1, len(kinds)),
        box=truth.box.reshape(-1, 4),
        has_box=truth.has_box.reshape(-1),
        colour=truth.colour.reshape(-1),
    )
