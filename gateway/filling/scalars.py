"""Properties that are one value: how each is asked, and how the answer is made to fit."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from gateway.chat.text_only import title_of
from gateway.filling.schema import Schema, SchemaProblem, number_of, size_of
from gateway.filling.sheet import NO, YES, Answers
from gateway.filling.words import is_nothing, number_in
from schemas.result import shorten

MOST_CHARACTERS = 10_000  # that a text has to have
_FORMATS = {"date-time": "%Y-%m-%dT%H:%M:%SZ", "date": "%Y-%m-%d", "time": "%H:%M:%SZ"}


@dataclass(frozen=True, slots=True)
class Fixed:
    """A value that needs no asking."""

    content: Any

    def value(self, answers: Answers) -> Any:
        """See `Part.value`."""
        return self.content

    def is_known(self, answers: Answers) -> bool:
        """See `Part.is_known`."""
        return self.content is not None


@dataclass(frozen=True, slots=True)
class YesOrNo:
    """A boolean, chosen."""

    task: int
    default: bool = False

    def value(self, answers: Answers) -> bool:
        """See `Part.value`."""
        if not self.is_known(answers):
            return self.default
        return answers.share(self.task, YES) > answers.share(self.task, NO)

    def is_known(self, answers: Answers) -> bool:
        """See `Part.is_known`."""
        return answers.text(self.task) is not None


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of some values, by the text that stands for each."""

    task: int
    values: Sequence[tuple[str, Any]]
    default: Any

    def value(self, answers: Answers) -> Any:
        """See `Part.value`."""
        said = answers.text(self.task) or ""
        found = [(text, value) for text, value in self.values if text == said]
        if not found and (words := _words(said)):
            found = [(text, value) for text, value in self.values if (_words(text) or "?") in words]
        if found:  # the longest: "dark red" is also "red"
            return max(found, key=lambda each: len(each[0]))[1]
        return self.default

    def is_known(self, answers: Answers) -> bool:
        """See `Part.is_known`."""
        return answers.text(self.task) is not None


def _words(text: str) -> str:
    """For comparing whole words: in lower case, a blank around each."""
    words = re.sub(r"\W+", " ", text.lower()).strip()
    return f" {words} " if words else ""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a number has to be.

    Raises:
        SchemaProblem: No number can be that.
    """

    low: float | int | None = None
    high: float | int | None = None
    step: float | int | None = None
    is_whole: bool = False

    @classmethod
    def of(cls, schema: Schema, path: str, *, is_whole: bool) -> "Bounds":
        """As the schema says."""
        low, high = number_of(schema, "minimum", path), number_of(schema, "maximum", path)
        above = _exclusive(schema, "exclusiveMinimum", low, path)
        below = _exclusive(schema, "exclusiveMaximum", high, path)
        step = number_of(schema, "multipleOf", path)
        if step is not None and step <= 0:
            raise SchemaProblem(path, "multipleOf must be above 0")
        if is_whole:
            low = None if low is None else math.ceil(low)
            high = None if high is None else math.floor(high)
        if above is not None:
            least = math.floor(above) + 1 if is_whole else math.nextafter(above, math.inf)
            low = least if low is None else max(low, least)
        if below is not None:
            most = math.ceil(below) - 1 if is_whole else math.nextafter(below, -math.inf)
            high = most if high is None else min(high, most)
        made = cls(low, high, step, is_whole)
        if not made.allows(made.nearest(0)):
            raise SchemaProblem(path, "no number is within its limits")
        return made

    def allows(self, value: float) -> bool:
        """Whether it is within."""
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)

    def nearest(self, value: float) -> float | int:
        """The closest number that is allowed."""
        near: float | int = value
        if self.low is not None:
            near = max(near, self.low)
        if self.high is not None:
            near = min(near, self.high)
        if self.step is not None:
            near = self._on_step(near, self.step)
        if self.is_whole or (isinstance(near, float) and near.is_integer() and abs(near) < 1e15):
            return round(near)
        return near

    def _on_step(self, value: float, step: float) -> float | int:
        step = round(step) if float(step).is_integer() else step
        if self.is_whole:
            value = round(value)
            step = step if isinstance(step, int) else _whole_step(step)
        near: float | int
        if isinstance(value, int) and isinstance(step, int):
            near = step * ((2 * value + step) // (2 * step))  # exact, however large
        else:
            near = step * round(value / step)
        if self.low is not None and near < self.low:
            near += step
        if self.high is not None and near > self.high:
            near -= step
        return near


def _exclusive(schema: Schema, name: str, inclusive: float | None, path: str) -> float | int | None:
    """The limit itself; in an older form of schemas it is in `minimum` or `maximum`."""
    if isinstance(schema.get(name), bool):
        return inclusive if schema[name] else None
    return number_of(schema, name, path)


def _whole_step(step: float) -> int:
    """The smallest whole number that is a multiple of a step like 0.5."""
    return next((n for n in range(1, 1001) if (n / step).is_integer()), 1)


@dataclass(frozen=True, slots=True)
class Number:
    """A number that was said, counted, or is a place on a scale."""

    task: int
    bounds: Bounds
    default: float | int
    scale: Sequence[tuple[str, int]] = ()  #: words of a scale with their numbers

    def value(self, answers: Answers) -> float | int:
        """See `Part.value`."""
        found = self._found(answers)
        return self.bounds.nearest(self.default if found is None else found)

    def is_known(self, answers: Answers) -> bool:
        """See `Part.is_known`."""
        return self._found(answers) is not None

    def _found(self, answers: Answers) -> float | int | None:
        counted = answers.count(self.task)
        said = answers.text(self.task)
        if counted is not None or said is None:
            return counted
        if self.scale:
            return dict(self.scale).get(said)
        return number_in(said)


@dataclass(frozen=True, slots=True)
class Confidence:
    """How sure the model was of all its answers; asking it would be a guess."""

    bounds: Bounds

    def value(self, answers: Answers) -> float | int:
        """See `Part.value`."""
        share = answers.confidence or 0.0
        return self.bounds.nearest(round(share * 100) if (self.bounds.high or 1) > 1 else share)

    def is_known(self, answers: Answers) -> bool:
        """See `Part.is_known`."""
        return answers.confidence is not None


@dataclass(frozen=True, slots=True)
class TextBounds:
    """How long a text has to be, in characters."""

    least: int = 0
    most: int | None = None

    @classmethod
    def of(cls, schema: Schema, path: str) -> "TextBounds":
        """As the schema says.

        Raises:
            SchemaProblem: No text can be that long.
        """
        least = size_of(schema, "minLength", path, MOST_CHARACTERS) or 0
        most = size_of(schema, "maxLength", path, MOST_CHARACTERS)
        if most is not None and most < least:
            raise SchemaProblem(path, "minLength is above maxLength")
        return cls(least, most)

    def fit(self, text: str, more: Sequence[str] = (), suffix: str = "") -> str:
        """The text, cut at a word or made longer: with what else was said, then with blanks."""
        most = None if self.most is None else max(0, self.most - len(suffix))
        least = max(0, self.least - len(suffix))
        for other in more:
            if len(text) >= least:
                break
            if other not in text:
                text = f"{text} {other}".strip()
        if most is not None and len(text) > most:
            cut = shorten(text, most) if most > 1 else text[:most]
            text = cut if len(cut) >= least else text[:most]
        return text.ljust(least) + suffix


@dataclass(frozen=True, slots=True)
class Words:
    """A text that was said."""

    task: int
    bounds: TextBounds = field(default_factory=TextBounds)
    default: str = ""
    is_title: bool = False

    def value(self, answers: Answers) -> str:
        """See `Part.value`."""
        said = answers.text(self.task)
        text = self.default if said is None else said
        if self.is_title:
            text = title_of(text)
        return self.bounds.fit(text, answers.texts())

    def is_known(self, answers: Answers) -> bool:
        """See `Part.is_known`."""
        return not is_nothing(answers.text(self.task) or "")


@dataclass(frozen=True, slots=True)
class Now:
    """The time at which it is filled."""

    format: str

    @classmethod
    def of(cls, schema: Schema) -> "Now | None":
        """None where another text is wanted."""
        wanted = schema.get("format")
        form = _FORMATS.get(wanted) if isinstance(wanted, str) else None
        return None if form is None or {"minLength", "maxLength"} & schema.keys() else cls(form)

    def value(self, answers: Answers) -> str:
        """See `Part.value`."""
        return datetime.now(UTC).strftime(self.format)

    def is_known(self, answers: Answers) -> bool:
        """See `Part.is_known`."""
        return True
