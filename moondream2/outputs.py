"""What a step tells of requests: beginnings, pieces of text, answers, failures."""

from collections.abc import Mapping

from moondream2.tasks import Event, Finished, Piece, Started, TaskDone
from moondream2.work import Live, Work


class Outputs:
    """Events until a step returns them.

    Args:
        work: Requests that are held, by key.
    """

    def __init__(self, work: Mapping[str, Work]) -> None:
        self._work = work
        self._events: list[Event] = []

    def __len__(self) -> int:
        return len(self._events)

    def add(self, event: Event) -> None:
        """Tell an event with the next step."""
        self._events.append(event)

    def take(self) -> list[Event]:
        """Return what is to be told, and forget it."""
        events, self._events = self._events, []
        return events

    def tell_start(self, work: Work) -> None:
        """Tell that a request has begun, once."""
        if not work.is_started:
            work.is_started = True
            self.add(Started(work.request.key))

    def show(self, live: Live, text: str) -> None:
        """Tell a piece of text, but not what an interrupted run of the task has told before."""
        work = self._work[live.key]
        num_sent = work.num_sent.get(live.task, 0)
        new = text[max(0, num_sent - live.num_shown) :]
        live.num_shown += len(text)
        if new:
            work.num_sent[live.task] = live.num_shown
            self.add(Piece(live.key, live.task, new))

    def tell_answer(self, live: Live) -> None:
        """Tell the answer of a row that has ended."""
        answer = self._work[live.key].answers[live.task] = live.row.answer()
        self.add(TaskDone(live.key, live.task, answer))

    def tell_end(self, work: Work, num_steps: int) -> None:
        """Tell that all tasks of a request have answers, after `num_steps` of the engine."""
        answers = tuple(work.answers[index] for index in range(len(work.request.tasks)))
        self.add(Finished(work.request.key, answers, work.timings(num_steps)))
