"""What becomes of frames that were sent, as `publish --wait` follows and tells it.

Plain bookkeeping over what the service publishes: captions go to stdout, whatever is said meanwhile
to the display, and what failed is kept with the service's own reasons.
"""

import re
from collections import Counter, deque
from collections.abc import Mapping
from pathlib import Path

from schemas.job import JobStatus
from schemas.result import ResultDocument
from schemas.status import BridgeInfo, StatusDocument
from service.commands.display import Display

_OTHER_JOB = re.compile(r"(?:same picture as|frame of) ([A-Za-z0-9_-]{1,64})\b")
_MOST_CAPTIONS = 256  # of the camera's other frames, one of which may be the same picture
_MOST_PROBLEMS = 5  # named in one message


class Outcomes:
    """The frames that wait for their end.

    Args:
        frames: Job id to file.
        display: What is said meanwhile.
    """

    def __init__(self, frames: Mapping[str, Path], display: Display) -> None:
        self._frames = dict(frames)
        self._repeats: dict[str, list[Path]] = {}  # by the job whose picture they have
        self._display = display
        self._says: dict[str, str] = {}
        self._model = ""
        self._captions: deque[tuple[str, str]] = deque(maxlen=_MOST_CAPTIONS)
        self._counts: Counter[str] = Counter()
        self._problems: list[str] = []

    @property
    def is_complete(self) -> bool:
        """Whether every frame has its end."""
        return not self._frames and not self._repeats

    def sent(self) -> None:
        """Count a frame that the broker has."""
        self._counts["sent"] += 1

    def summary(self) -> str:
        """How many were sent, and what became of them, e.g. `12 sent, 1 duplicate`."""
        rest = self._counts.keys() - {"sent", "captioned"}
        names = ["sent", *(["captioned"] if self._counts["captioned"] else []), *sorted(rest)]
        return ", ".join(f"{self._counts[name]} {name}" for name in names)

    def feed_result(self, document: ResultDocument) -> None:
        """Take a caption, which may be of another's frame."""
        if document.result is None:
            return
        self._captions.append((document.job_id, document.result.caption))
        caption = document.result.caption
        if (path := self._frames.pop(document.job_id, None)) is not None:
            self._counts["captioned"] += 1
            self._display.caption(path.name, caption)
        for path in self._repeats.pop(document.job_id, []):
            self._display.caption(path.name, caption)

    def feed_status(self, status: StatusDocument) -> str | None:
        """Take a status, which may be of another's frame.

        Returns:
            The job whose picture the frame repeats, where its caption is not known here.
        """
        job_id = status.job_id or ""
        if status.status is JobStatus.COMPLETED:
            return None  # its caption comes
        if status.status.is_final:
            for path in self._repeats.pop(job_id, []):
                self._failed(path, f"as {job_id}, {status.status}: {status.message}")
        if job_id not in self._frames:
            return None
        if not status.status.is_final:
            self._says[job_id] = status.message
            self._display.say(status.message)
            return None
        path = self._frames.pop(job_id)
        self._counts[status.status.value] += 1
        if status.status is JobStatus.DUPLICATE:
            return self._repeat(path, status.message)
        self._failed(path, f"{status.status}: {status.message}")
        return None

    def feed_info(self, info: BridgeInfo) -> None:
        """Take what the service says of its model."""
        model = info.model
        said = ""
        if model.state in {"loading", "failed"}:
            verb = "is loading" if model.state == "loading" else "has failed"
            said = f"The model {verb}" + (f": {model.message}" if model.message else "")
        if said and said != self._model:
            self._display.say(said)
        self._model = said

    def give_up_caption(self, job_id: str) -> None:
        """The caption of another's frame will not come: what repeats it has had its end."""
        if job_id not in self._frames:  # else it is one of ours, whose end is still to come
            self._display.advance(len(self._repeats.pop(job_id, [])))

    def problems(self, patience_s: float) -> str:
        """What failed, and what is still without an end after so many seconds; else empty."""
        told = self._problems[:_MOST_PROBLEMS]
        if (more := len(self._problems) - len(told)) > 0:
            told.append(f"and {more} more")
        if not self.is_complete:
            repeats = [path for paths in self._repeats.values() for path in paths]
            names = [path.name for path in (*self._frames.values(), *repeats)]
            listed = ", ".join(names[:_MOST_PROBLEMS]) + (", …" * (len(names) > _MOST_PROBLEMS))
            told.append(f"no caption within {patience_s:g} s for {listed}; {self._reason()}")
        return "; ".join(told)

    def _reason(self) -> str:
        """Why there is no end yet, in the service's words."""
        if self._model:
            return self._model[0].lower() + self._model[1:]
        said = next((self._says[each] for each in self._frames if each in self._says), None)
        if said is not None:
            return f"the service says: {said}"
        return (
            "the service says nothing of it: may this account publish frames of this camera, and "
            "read its status and caption?"
        )

    def _repeat(self, path: Path, message: str) -> str | None:
        """A frame that has the picture of another, and so its caption."""
        self._display.say(f"{path.name}: {message}", is_lasting=True)
        found = _OTHER_JOB.search(message)
        if found is None:
            self._display.advance()
            return None
        known = next((text for job_id, text in self._captions if job_id == found[1]), None)
        if known is not None:
            self._display.caption(path.name, known)
            return None
        self._repeats.setdefault(found[1], []).append(path)
        return found[1]

    def _failed(self, path: Path, reason: str) -> None:
        self._display.advance()
        self._problems.append(f"{path.name}: {reason}")
