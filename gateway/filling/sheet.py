"""What is asked about a picture so that a schema can be filled, and what was answered."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.filling.words import is_nothing
from schemas.frame import MAX_TASKS
from schemas.result import Result

Task = str | dict[str, Any]  #: as a frame has it
YES, NO = "Yes", "No"


@dataclass(slots=True)
class Sheet:
    """Collects the tasks of a frame; the same is not asked twice."""

    tasks: list[Task] = field(default_factory=list)
    not_asked: list[str] = field(default_factory=list)  #: properties for which there was no room

    def ask(self, task: Task, path: str) -> int:
        """Its place among the tasks; -1 when there is no room for it any more."""
        if task in self.tasks:
            return self.tasks.index(task)
        if len(self.tasks) >= MAX_TASKS:
            self.not_asked.append(path)
            return -1
        self.tasks.append(task)
        return len(self.tasks) - 1

    def mark(self) -> tuple[int, int]:
        """How much was asked so far, for `back_to`."""
        return len(self.tasks), len(self.not_asked)

    def back_to(self, mark: tuple[int, int]) -> None:
        """Forget what was asked since."""
        del self.tasks[mark[0] :], self.not_asked[mark[1] :]

    def query(self, question: str, path: str) -> int:
        """Ask for a text."""
        return self.ask({"query": question}, path)

    def choose(self, question: str, choices: Sequence[str], path: str) -> int:
        """Ask which of some texts it is."""
        return self.ask({"choose": {"question": question, "choices": list(choices)}}, path)

    def count(self, label: str, path: str) -> int:
        """Ask how many there are."""
        return self.ask({"detect": label}, path)

    def caption(self, path: str) -> int:
        """Ask for a description."""
        return self.ask("caption", path)


class Answers:
    """What was answered to each task.

    Args:
        tasks: In the order in which they were asked.
        result: None: nothing was.
    """

    def __init__(self, tasks: Sequence[Task], result: Result | None) -> None:
        self.caption = ""
        self.confidence: float | None = None
        self._said: dict[int, str] = {}
        self._shares: dict[int, dict[str, float]] = {}
        self._counts: dict[int, int] = {}
        if result is not None:
            self.confidence = result.confidence
            self._read(tasks, result)

    def _read(self, tasks: Sequence[Task], result: Result) -> None:
        """Take each answer, if it is to that question: ids can lead to a job of another."""
        answers, objects = iter(result.answers), iter(result.objects)
        for place, task in enumerate(tasks):
            if isinstance(task, str):
                self._said[place] = self.caption = result.caption.strip()
                continue
            [(kind, content)] = task.items()
            if kind == "detect":
                counted = next(objects, None)
                if counted is not None and counted.label == content:
                    self._counts[place] = counted.count
                continue
            answer = next(answers, None)
            question = content["question"] if kind == "choose" else content
            if answer is not None and answer.question == question:
                self._said[place] = answer.answer.strip()
                self._shares[place] = answer.probabilities or {}

    def text(self, place: int) -> str | None:
        """What was said to a task; None where it was not asked."""
        return self._said.get(place)

    def share(self, place: int, choice: str) -> float:
        """How probable a choice is, 0..1; 0 where it was not asked."""
        return self._shares.get(place, {}).get(choice, 0.0)

    def count(self, place: int) -> int | None:
        """How many were counted; None where it was not asked."""
        return self._counts.get(place)

    def texts(self) -> list[str]:
        """Everything that was said in sentences, the description first."""
        said = [text for place, text in self._said.items() if not self._shares.get(place)]
        kept = [text for text in [self.caption, *said] if not is_nothing(text)]
        return list(dict.fromkeys(kept))
