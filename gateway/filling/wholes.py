"""Properties that are made of others: objects, lists, and what may be missing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.filling.scalars import Bounds, TextBounds
from gateway.filling.schema import Schema, SchemaProblem, size_of
from gateway.filling.sheet import YES, Answers
from gateway.filling.words import numbers_in, parts_of

_MOST_ITEMS = 1000  # that a list has to have
_SENTENCE = 10  # characters; what has to be as long is no single word


class Part(Protocol):
    """A part of an answer."""

    def value(self, answers: Answers) -> Any:
        """What goes there; valid whatever was answered."""

    def is_known(self, answers: Answers) -> bool:
        """Whether the answers say anything about it."""


@dataclass(frozen=True, slots=True)
class Maybe:
    """Null where nothing is known."""

    part: Part

    def value(self, answers: Answers) -> Any:
        """See `Part.value`."""
        return self.part.value(answers) if self.part.is_known(answers) else None

    def is_known(self, answers: Answers) -> bool:
        """See `Part.is_known`."""
        return self.part.is_known(answers)


@dataclass(frozen=True, slots=True)
class Object:
    """Properties by name."""

    parts: Mapping[str, Part]

    def value(self, answers: Answers) -> dict[str, Any]:
        """See `Part.value`."""
        return {name: part.value(answers) for name, part in self.parts.items()}

    def is_known(self, answers: Answers) -> bool:
        """See `Part.is_known`."""
        return any(part.is_known(answers) for part in self.parts.values())


@dataclass(frozen=True, slots=True)
class ListBounds:
    """How many items a list has to have."""

    least: int = 0
    most: int | None = None
    are_unique: bool = False

    @classmethod
    def of(cls, schema: Schema, path: str) -> "ListBounds":
        """As the schema says.

        Raises:
            SchemaProblem: No list can be that long.
        """
        least = size_of(schema, "minItems", path, _MOST_ITEMS) or 0
        most = size_of(schema, "maxItems", path, _MOST_ITEMS)
        if most is not None and most < least:
            raise SchemaProblem(path, "minItems is above maxItems")
        return cls(least, most, schema.get("uniqueItems") is True)


@dataclass(frozen=True, slots=True)
class Texts:
    """A list of texts, split from one answer."""

    task: int
    bounds: ListBounds
    texts: TextBounds

    def value(self, answers: Answers) -> list[str]:
        """See `Part.value`."""
        said = self._split(answers.text(self.task) or "")[: self.bounds.most]
        if len(said) < self.bounds.least:
            more = [part for text in answers.texts() for part in self._split(text)]
            said = list(dict.fromkeys([*said, *more]))[: self.bounds.least]
        said += [said[-1] if said else ""] * (self.bounds.least - len(said))
        filled: list[str] = []
        for text in said:
            fitted = self.texts.fit(text, answers.texts())
            number = len(filled)
            while fitted in filled and self.bounds.are_unique:
                number += 1
                fitted = self.texts.fit(text, (), f" {number}")
            filled.append(fitted)
        return filled

    def _split(self, text: str) -> list[str]:
        return parts_of(text, are_sentences=self.texts.least >= _SENTENCE)

    def is_known(self, answers: Answers) -> bool:
        """See `Part.is_known`."""
        return bool(self._split(answers.text(self.task) or ""))


@dataclass(frozen=True, slots=True)
class Numbers:
    """A list of numbers, all that one answer has."""

    task: int
    bounds: ListBounds
    numbers: Bounds

    def value(self, answers: Answers) -> list[float | int]:
        """See `Part.value`."""
        said = numbers_in(answers.text(self.task) or "")
        found = [self.numbers.nearest(each) for each in said]
        if self.bounds.are_unique:
            found = list(dict.fromkeys(found))
        found = found[: self.bounds.most]
        return found + [self.numbers.nearest(0)] * (self.bounds.least - len(found))

    def is_known(self, answers: Answers) -> bool:
        """See `Part.is_known`."""
        return bool(numbers_in(answers.text(self.task) or ""))


@dataclass(frozen=True, slots=True)
class Those:
    """A list of those values to which the answer is yes."""

    values: Sequence[tuple[int, Any]]  #: the task of each, and the value
    bounds: ListBounds

    def value(self, answers: Answers) -> list[Any]:
        """See `Part.value`."""
        shares = [answers.share(task, YES) for task, _ in self.values]
        order = sorted(range(len(shares)), key=lambda place: -shares[place])
        number = sum(share > 0.5 for share in shares)
        number = max(number, min(self.bounds.least, len(order)))
        number = number if self.bounds.most is None else min(number, self.bounds.most)
        found = [self.values[place][1] for place in sorted(order[:number])]
        return found + [self.values[0][1]] * (self.bounds.least - len(found))

    def is_known(self, answers: Answers) -> bool:
        """See `Part.is_known`."""
        return any(answers.text(task) is not None for task, _ in self.values)


@dataclass(frozen=True, slots=True)
class Alike:
    """A list of one thing, as often as it has to be there."""

    part: Part
    bounds: ListBounds

    def value(self, answers: Answers) -> list[Any]:
        """See `Part.value`."""
        number = max(self.bounds.least, int(self.part.is_known(answers)))
        number = number if self.bounds.most is None else min(number, self.bounds.most)
        return [self.part.value(answers) for _ in range(number)]

    def is_known(self, answers: Answers) -> bool:
        """See `Part.is_known`."""
        return self.part.is_known(answers)
