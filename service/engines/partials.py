"""Answers while they are generated, for those who hear them: nothing is kept of any other job.

A job can run again: its engine died, or a more urgent one took its place. Its text then begins
anew, and who hears it is told only what goes beyond what was told before.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class _Hearer:
    on_text: Callable[[str], None]
    told: str = ""

    def hear(self, text: str) -> None:
        """Pass on what is new; where another text was told, its end will show it."""
        if len(text) > len(self.told) and text.startswith(self.told):
            new, self.told = text[len(self.told) :], text
            self.on_text(new)


@dataclass(slots=True)
class _Heard:
    text: str = ""  #: of this run, as the engine said it
    hearers: list[_Hearer] = field(default_factory=list)


class Partials:
    """What has been generated so far, by job."""

    def __init__(self) -> None:
        self._heard: dict[str, _Heard] = {}

    def __len__(self) -> int:
        return len(self._heard)

    def are_heard(self, job_key: str) -> bool:
        """Whether anybody hears a job."""
        return job_key in self._heard

    @contextmanager
    def of(self, job_key: str, on_text: Callable[[str], None]) -> Iterator[None]:
        """Hear a job while the block lasts; it need not be there yet.

        Args:
            job_key: Its key. One that is in its engine already tells nothing before its end.
            on_text: Told of each further piece; together they are the beginning of what its result
                says, unless it ran again and said something else.
        """
        heard = self._heard.setdefault(job_key, _Heard())
        hearer = _Hearer(on_text)
        heard.hearers.append(hearer)
        try:
            yield
        finally:
            heard.hearers.remove(hearer)
            if not heard.hearers:
                del self._heard[job_key]

    def restart(self, job_key: str) -> None:
        """A job begins to run."""
        if heard := self._heard.get(job_key):
            heard.text = ""

    def add(self, job_key: str, text: str) -> None:
        """The engine has said more; blanks at both ends are cut as they are of results."""
        if heard := self._heard.get(job_key):
            heard.text += text
            for hearer in heard.hearers:
                hearer.hear(heard.text.strip())
