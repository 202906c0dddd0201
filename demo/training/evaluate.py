"""How good the demonstration model is: `python -m demo.training.evaluate`.

Scenes whose seeds were never trained on go through the service's own engine at temperature 0, and
every answer is held against what the scene's data says. A figure is a share of things, questions or
labels that came out right, never an average of averages.
"""

import argparse
import io
import logging
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

from demo.language import (
    Length,
    Question,
    Side,
    Topic,
    ask,
    is_night_said,
    kinds_named,
    sides_named,
    sides_true,
)
from demo.scenes.render import render
from demo.scenes.scene import EVALUATION_SEEDS, Box, Kind, Scene, draw_scene
from demo.training.pool import camera_picture
from moondream2.config import MoondreamConfig
from moondream2.crops import prepare
from moondream2.generate import Engine
from moondream2.int8 import load_int8
from moondream2.model import Moondream
from moondream2.tasks import (
    Answer,
    Caption,
    ChoiceAnswer,
    Choose,
    Detect,
    Failed,
    Finished,
    ObjectsAnswer,
    Point,
    PointsAnswer,
    Query,
    Request,
    Task,
    TextAnswer,
)
from moondream2.tokens import Tokenizer

logger = logging.getLogger("demo.training.evaluate")

MODEL = Path(__file__).parents[1] / "model"
#: Requests that the engine holds at once.
_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure with the value it should reach."""

    name: str
    least: float


GOALS = (
    Goal("objects present are named", 0.95),
    Goal("objects absent are not named", 0.97),
    Goal("day or night is right", 0.98),
    Goal("the side is right", 0.90),
    Goal("yes or no is right", 0.92),
    Goal("counts up to three are right", 0.85),
    Goal("objects are found (IoU 0.5)", 0.85),
    Goal("nothing is found for absent labels", 0.90),
    Goal("points are inside the box", 0.90),
    Goal("choosing agrees with answering freely", 0.97),
)
_NAMED, _UNNAMED, _HOUR, _SIDE, _YES_NO, _COUNT, _FOUND, _NOTHING, _INSIDE, _AGREED = (
    goal.name for goal in GOALS
)


@dataclass(slots=True)
class Tally:
    """Right answers out of all, by figure."""

    right: Counter[str] = field(default_factory=Counter)
    total: Counter[str] = field(default_factory=Counter)

    def add(self, name: str, right: int, total: int = 1) -> None:
        """Count `right` of `total` for a figure."""
        self.right[name] += right
        self.total[name] += total

    def share(self, name: str) -> float:
        """The part that was right, 0..1."""
        return self.right[name] / self.total[name] if self.total[name] else 0.0


@dataclass(frozen=True, slots=True)
class Exam:
    """A scene with everything that is asked about it."""

    scene: Scene
    questions: tuple[Question, ...]

    @classmethod
    def of(cls, seed: int) -> "Exam":
        """The exam of a scene: presence of every kind, counts, the hour and the rest by lot."""
        rng = random.Random(f"exam {seed}")
        scene = draw_scene(seed)
        questions = [_presence(scene, kind) for kind in Kind]
        questions += [_count(scene, kind) for kind in Kind]
        questions += [ask(scene, rng, topic) for topic in _OTHER_TOPICS]
        return cls(scene, tuple(questions))

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What the model is asked, in the order in which `grade` reads the answers."""
        return (
            *(Caption(length) for length in Length),
            *(Query(question.text) for question in self.questions),
            *(Detect(kind) for kind in Kind),
            *(Point(kind) for kind in Kind),
            *(Choose(question.text, YES_OR_NO) for question in self.questions[: len(Kind)]),
        )


#: What can be chosen where presence is asked.
YES_OR_NO = ("Yes", "No")
_OTHER_TOPICS = (Topic.HOUR, Topic.COLOUR, Topic.SIDE, Topic.WEATHER, Topic.PLACE)
_NUMBERS = ("None", "One", "Two", "Three", "Four")


def _presence(scene: Scene, kind: Kind) -> Question:
    answer = "Yes" if scene.of(kind) else "No"
    return Question(Topic.PRESENCE, f"Is there a {kind}?", answer)


def _count(scene: Scene, kind: Kind) -> Question:
    plural = "people" if kind is Kind.PERSON else f"{kind}s"
    answer = _NUMBERS[len(scene.of(kind))]
    return Question(Topic.COUNT, f"How many {plural} are there?", answer)


def grade(exam: Exam, answers: Sequence[Answer], tally: Tally) -> None:
    """Count what is right in the answers to an exam."""
    rest = iter(answers)
    texts = [_text(next(rest)) for _ in Length]
    for length, text in zip(Length, texts, strict=True):
        _grade_caption(exam.scene, length, text, tally)
    said = [_text(next(rest)) for _ in exam.questions]
    for question, text in zip(exam.questions, said, strict=True):
        _grade_question(exam.scene, question, text, tally)
    for kind in Kind:
        _grade_boxes(exam.scene, kind, next(rest), tally)
    for kind in Kind:
        _grade_points(exam.scene, kind, next(rest), tally)
    for text in said[: len(Kind)]:
        tally.add(_AGREED, chosen(next(rest)) == text)


def _text(answer: Answer) -> str:
    if not isinstance(answer, TextAnswer):
        raise TypeError(f"expected text, got {answer!r}")
    return answer.text.strip()


def chosen(answer: Answer) -> str:
    """What was chosen of `YES_OR_NO`."""
    if not isinstance(answer, ChoiceAnswer):
        raise TypeError(f"expected a choice, got {answer!r}")
    shares = dict(zip(YES_OR_NO, answer.probabilities, strict=True))
    return max(shares, key=shares.__getitem__)


def _grade_caption(scene: Scene, length: Length, text: str, tally: Tally) -> None:
    present, named = {thing.kind for thing in scene.things}, kinds_named(text)
    tally.add(_NAMED, len(present & named), len(present))
    tally.add(_UNNAMED, len(Kind) - len(present | named), len(Kind) - len(present))
    tally.add(_HOUR, is_night_said(text) is scene.is_night)
    if length is Length.NORMAL:
        true, said = sides_true(scene), Counter(sides_named(text))
        tally.add(
            "kind and side of every thing in normal captions",
            (Counter(true) & said).total(),
            len(true),
        )
        _grade_sides(scene, said, tally)


def _grade_sides(scene: Scene, said: Counter[tuple[Kind, Side]], tally: Tally) -> None:
    """Of the things that a caption names, the part that it puts on the right side.

    Things that it leaves out count as unnamed elsewhere, not here.
    """
    true = Counter(sides_true(scene))
    for kind in Kind:
        ours = Counter({key: number for key, number in true.items() if key[0] is kind})
        theirs = Counter({key: number for key, number in said.items() if key[0] is kind})
        pairs = min(ours.total(), theirs.total())
        tally.add(_SIDE, (ours & theirs).total(), pairs)


def _grade_question(scene: Scene, question: Question, text: str, tally: Tally) -> None:
    is_right = text == question.answer
    if question.topic is Topic.COUNT:
        # Nobody asks how many there are of what is not there without reason: zero counts apart.
        name = "counts of absent kinds are none" if question.answer == "None" else _COUNT
        tally.add(name, is_right)
    elif question.topic is Topic.PRESENCE:
        tally.add(_YES_NO, is_right)
        name = "yes when present" if question.answer == "Yes" else "no when absent"
        tally.add(name, is_right)
    else:
        tally.add(f"{question.topic} questions are right", is_right)


def _grade_boxes(scene: Scene, kind: Kind, answer: Answer, tally: Tally) -> None:
    if not isinstance(answer, ObjectsAnswer):
        raise TypeError(f"expected boxes, got {answer!r}")
    true = scene.boxes(kind)
    found = [Box(box.x_min, box.y_min, box.x_max, box.y_max) for box in answer.boxes]
    if not true:
        tally.add(_NOTHING, not found)
        return
    hits = matched(true, found)
    tally.add(_FOUND, hits, len(true))
    tally.add(f"{PLURAL_OF[kind]} are found", hits, len(true))
    tally.add("boxes are right (IoU 0.5)", hits, len(found))


PLURAL_OF = {kind: "people" if kind is Kind.PERSON else f"{kind}s" for kind in Kind}


def matched(true: Sequence[Box], found: Sequence[Box], least: float = 0.5) -> int:
    """How many true boxes have a found box of their own with at least this IoU."""
    pairs = sorted(
        ((mine.iou(other), i, j) for i, mine in enumerate(true) for j, other in enumerate(found)),
        reverse=True,
    )
    used_true: set[int] = set()
    used_found: set[int] = set()
    for iou, i, j in pairs:
        if iou >= least and i not in used_true and j not in used_found:
            used_true.add(i)
            used_found.add(j)
    return len(used_true)


def _grade_points(scene: Scene, kind: Kind, answer: Answer, tally: Tally) -> None:
    if not isinstance(answer, PointsAnswer):
        raise TypeError(f"expected points, got {answer!r}")
    boxes = scene.boxes(kind)
    if not boxes:
        tally.add("no point for absent labels", not answer.points)
        return
    inside = sum(any(_holds(box, x, y) for box in boxes) for x, y in answer.points)
    tally.add(_INSIDE, inside, len(answer.points))
    pointed = sum(any(_holds(box, x, y) for x, y in answer.points) for box in boxes)
    tally.add("objects are pointed at", pointed, len(boxes))


def _holds(box: Box, x: float, y: float) -> bool:
    return box.x_min <= x <= box.x_max and box.y_min <= y <= box.y_max


def camera_image(scene: Scene) -> Image.Image:
    """What the service receives of a scene: drawn, and compressed as in training."""
    return camera_picture(render(scene), random.Random(scene.seed))


class Examiner:
    """A loaded model that answers.

    Args:
        folder: The model folder.
        dtype: What the model computes in.
        steps: With weights in 8 bits, their steps: 127 or 64; 0 is for full weights.
    """

    def __init__(self, folder: Path, dtype: torch.dtype = torch.float32, *, steps: int = 0) -> None:
        started = time.monotonic()
        self.config = MoondreamConfig.from_folder(folder)
        if steps:
            self._model = load_int8(folder, steps=steps)
        else:
            self._model = Moondream.load(folder, device="cpu", dtype=dtype)
        self._tokenizer = Tokenizer.load(folder / "tokenizer.json", self.config)
        self.load_s = time.monotonic() - started

    def answer(
        self, scenes: Sequence[tuple[Scene, tuple[Task, ...]]], *, slots: int | None = None
    ) -> Iterator[tuple[int, tuple[Answer, ...]]]:
        """Answer the tasks of every scene; yields the scene's index with its answers."""
        engine = Engine(self._model, self._tokenizer, slots=slots)
        waiting = list(range(len(scenes)))[::-1]
        held = 0
        while waiting or held:
            while waiting and held < _AT_ONCE:
                index = waiting.pop()
                scene, tasks = scenes[index]
                crops = prepare(camera_image(scene), self.config.vision)
                engine.submit(Request(str(index), (float(index),), crops, tasks, max_tokens=128))
                held += 1
            for event in engine.step():
                if isinstance(event, Failed):
                    raise event.error
                if isinstance(event, Finished):
                    held -= 1
                    yield int(event.key), event.answers

    def captions_per_second(self, number: int, batch: int) -> float:
        """Normal captions per second from pictures in memory, `batch` at a time.

        The pictures are drawn before the clock starts; cutting them to crops is part of the work.
        """
        images = [camera_image(draw_scene(EVALUATION_SEEDS + index)) for index in range(number)]
        for image in images:
            image.load()
        engine = Engine(self._model, self._tokenizer, slots=batch)
        started = time.monotonic()
        for start in range(0, number, batch):
            for index, image in enumerate(images[start : start + batch], start=start):
                crops = prepare(image, self.config.vision)
                engine.submit(Request(str(index), (0.0,), crops, (Caption(),), max_tokens=128))
            while engine.has_work:
                engine.step()
        return number / (time.monotonic() - started)


def evaluate(examiner: Examiner, number: int, *, first: int = 0) -> Tally:
    """Examine the model on scenes that it was not trained on.

    Args:
        examiner: The model.
        number: How many scenes.
        first: Offset of the first scene's seed.
    """
    exams = [Exam.of(EVALUATION_SEEDS + first + index) for index in range(number)]
    tally = Tally()
    for index, answers in examiner.answer([(exam.scene, exam.tasks) for exam in exams]):
        grade(exams[index], answers, tally)
    return tally


@dataclass(frozen=True, slots=True)
class Likeness:
    """How near the answers in 8 bits are to those of the same model in float32."""

    exact: Tally
    shrunk: Tally
    texts: float  #: share of the captions and answers that are the same
    boxes: float  #: share of the labels with the same boxes, at two decimals

    def points(self, name: str) -> float:
        """How much better a figure is in 8 bits, in percentage points."""
        return 100 * (self.shrunk.share(name) - self.exact.share(name))


def compare(exact: Examiner, shrunk: Examiner, number: int, *, first: int = 0) -> Likeness:
    """Examine both on the same scenes; arguments as in `evaluate`."""
    exams = [Exam.of(EVALUATION_SEEDS + first + index) for index in range(number)]
    asked = [(exam.scene, exam.tasks) for exam in exams]
    answers = [dict(examiner.answer(asked)) for examiner in (exact, shrunk)]
    tallies = Tally(), Tally()
    same = Tally()
    for index, exam in enumerate(exams):
        for tally, own in zip(tallies, answers, strict=True):
            grade(exam, own[index], tally)
        for one, other in zip(answers[0][index], answers[1][index], strict=True):
            if isinstance(one, TextAnswer):
                same.add("texts", _text(one) == _text(other))
            elif isinstance(one, ObjectsAnswer):
                same.add("boxes", _rounded(one) == _rounded(other))
    return Likeness(*tallies, same.share("texts"), same.share("boxes"))


def _rounded(answer: Answer) -> list[list[float]]:
    if not isinstance(answer, ObjectsAnswer):
        raise TypeError(f"expected boxes, got {answer!r}")
    return [
        [round(edge, 2) for edge in (box.x_min, box.y_min, box.x_max, box.y_max)]
        for box in answer.boxes
    ]


def report_likeness(likeness: Likeness) -> list[str]:
    """One line for each figure that has a goal, then what is the same."""
    lines = [
        f"{goal.name:<52} {likeness.exact.share(goal.name):7.2%} "
        f"{likeness.shrunk.share(goal.name):7.2%} {likeness.points(goal.name):+6.2f}"
        for goal in GOALS
    ]
    return [*lines, f"the same texts {likeness.texts:.2%}, the same boxes {likeness.boxes:.2%}"]


def report(tally: Tally) -> list[str]:
    """One line for each figure; those with a goal first."""
    lines = []
    for goal in GOALS:
        share = tally.share(goal.name)
        verdict = "reached" if share >= goal.least else "MISSED"
        counted = f"{tally.right[goal.name]}/{tally.total[goal.name]}"
        lines.append(f"{goal.name:<52} {share:7.1%}  goal {goal.least:4.0%} {verdict:<8} {counted}")
    goals = {goal.name for goal in GOALS}
    for name in sorted(set(tally.total) - goals):
        counted = f"{tally.right[name]}/{tally.total[name]}"
        lines.append(f"{name:<52} {tally.share(name):7.1%}  {'':18} {counted}")
    return lines


def contact_sheet(examiner: Examiner, path: Path, *, first: int = 0) -> None:
    """Draw twelve unseen scenes with the captions that the model gives them, right or wrong."""
    scenes = [draw_scene(EVALUATION_SEEDS + first + index) for index in range(12)]
    captions = dict(examiner.answer([(scene, (Caption(),)) for scene in scenes]))
    width, height, text_height = 400, 300, 78
    sheet = Image.new("RGB", (3 * width, 4 * (height + text_height)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=15)
    for index, scene in enumerate(scenes):
        left, top = index % 3 * width, index // 3 * (height + text_height)
        picture = camera_image(scene)
        picture.thumbnail((width - 8, height - 4))
        sheet.paste(picture, (left + (width - picture.width) // 2, top + height - picture.height))
        words = _wrapped(_text(captions[index][0]), 52)
        draw.multiline_text((left + 8, top + height + 4), words, fill="black", font=font)
    file = io.BytesIO()
    sheet.quantize(256, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    path.write_bytes(file.getvalue())


def _wrapped(text: str, columns: int) -> str:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) >= columns:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)


def main() -> None:
    """Print the figures of a model folder."""
    parser = argparse.ArgumentParser(prog="python -m demo.training.evaluate", description=__doc__)
    parser.add_argument("--model", type=Path, default=MODEL, help="the model folder")
    parser.add_argument("--scenes", type=int, default=500, help="how many scenes")
    parser.add_argument("--first", type=int, default=0, help="offset of the first scene's seed")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--int8",
        type=int,
        choices=(7, 8),
        metavar="7|8",
        help="hold weights of so many bits against float32",
    )
    parser.add_argument("--sheet", type=Path, help="also write a contact sheet to this PNG")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(options.threads)
    examiner = Examiner(options.model)
    if options.int8:
        shrunk = Examiner(options.model, steps=127 if options.int8 == 8 else 64)
        likeness = compare(examiner, shrunk, options.scenes, first=options.first)
        for line in report_likeness(likeness):
            logger.info("%s", line)
        return
    logger.info("loaded in %.2f s", examiner.load_s)
    speed = examiner.captions_per_second(64, 8)
    logger.info("%.1f captions/s at batch 8, %d threads", speed, options.threads)
    started = time.monotonic()
    tally = evaluate(examiner, options.scenes, first=options.first)
    for line in report(tally):
        logger.info("%s", line)
    logger.info("%d scenes in %.0f s", options.scenes, time.monotonic() - started)
    if options.sheet:
        contact_sheet(examiner, options.sheet, first=options.first)
        logger.info("%s written", options.sheet)


if __name__ == "__main__":
    main()
