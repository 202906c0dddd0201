"""The live view of `watch` and `demo`: what the service has said so far, as one screen.

Fed with documents, rendered on demand: no broker, and no clock but the documents' own times. The
thread that refreshes the terminal renders while the event loop feeds, so what can grow is copied.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from schemas.frame import Priority
from schemas.job import JobStatus
from schemas.result import ResultDocument
from schemas.status import BridgeInfo, Health, Stats, StatusDocument
from service.commands.follow import Document
from service.commands.terminal import one_line

REFRESHES_PER_SECOND = 4  # a terminal over ssh keeps up; faster shows nothing more

_COLORS = {
    Priority.CRITICAL: "bold red",
    Priority.HIGH: "yellow",
    Priority.NORMAL: "green",
    Priority.LOW: "cyan",
}
_HEALTH_COLORS = {"healthy": "green", "degraded": "yellow", "unhealthy": "bold red"}


@dataclass(slots=True)
class _Camera:
    """One row of the screen."""

    newest: ResultDocument | None = None
    endings: Counter[JobStatus] = field(default_factory=Counter)  #: since the view was opened


class View:
    """Everything on the screen.

    Args:
        title: First line, e.g. where the broker is.
        note: Key of the frames' metadata to show below each caption.
    """

    def __init__(self, title: str, note: str | None = None) -> None:
        self._title = title
        self._note = note
        self._state = "unknown"
        self._cameras: dict[str, _Camera] = {}
        self._info: BridgeInfo | None = None
        self._stats: Stats | None = None
        self._health: Health | None = None

    def feed(self, document: Document) -> None:
        """Take in what was published."""
        match document:
            case ResultDocument():
                self._camera(document.camera_id).newest = document
            case StatusDocument():
                if document.status.is_final:
                    self._camera(document.camera_id).endings[document.status] += 1
            case Stats():
                self._stats = document
            case BridgeInfo():
                self._info = document
            case Health():
                self._health = document
            case str():
                self._state = document

    def render(self) -> RenderableType:
        """The screen as it is now."""
        return Group(self._heading(), self._captions(), *self._footing())

    def _camera(self, camera_id: str) -> _Camera:
        return self._cameras.setdefault(camera_id, _Camera())

    def _heading(self) -> Text:
        text = Text(self._title, style="bold")
        text.append(f"  {self._state}", style="green" if self._state == "online" else "bold red")
        if self._info:
            model = self._info.model
            kind = model.dtype if model.quantization in {None, "none"} else model.quantization
            text.append(f"  {model.name} on {model.device}, {kind}: {model.state}", "dim")
        if self._health and self._health.status != "healthy":
            text.append(f"  {self._health.status}", _HEALTH_COLORS[self._health.status])
        return text

    def _captions(self) -> Table:
        table = Table(expand=True, pad_edge=False, box=None, header_style="dim")
        for heading in ("camera", "priority", "at", "seconds", "sure"):
            table.add_column(heading, no_wrap=True)
        table.add_column("caption", ratio=1)
        table.add_column("endings", no_wrap=True, style="dim")
        for camera_id, camera in sorted(self._cameras.copy().items()):
            endings = ", ".join(
                f"{count} {status}" for status, count in camera.endings.copy().items()
            )
            table.add_row(camera_id, *self._caption_cells(camera.newest), endings)
        return table

    def _footing(self) -> Iterator[Text]:
        if not self._stats:
            yield Text("no statistics yet", style="dim")
            return
        stats = self._stats
        waiting = " ".join(f"{name} {count}" for name, count in stats.queue_by_priority.items())
        yield Text(
            f"waiting {stats.queue_size} ({waiting})  running {stats.active_jobs} of "
            f"{stats.max_concurrent_jobs}  {stats.captions_per_minute:.1f} captions/min  "
            f"{stats.system_status}"
        )
        lost = Counter(stats.dropped) + Counter(stats.duplicates) + Counter(stats.rejected)
        skipped = ", ".join(f"{name} {count}" for name, count in lost.most_common())
        latency = "  ".join(
            f"{name} p50 {figures.p50:.2f} s p99 {figures.p99:.2f} s"
            for name, figures in stats.latency.items()
        )
        yield Text(f"{latency}  not captioned: {skipped or 'none'}", style="dim")

    def _caption_cells(self, document: ResultDocument | None) -> tuple[RenderableType, ...]:
        if document is None or document.result is None:
            return ("", "", "", "", "")
        result = document.result
        priority = result.model_info.priority
        caption = Text(one_line(result.caption))
        if self._note in document.metadata:
            caption.append(f"\n{one_line(str(document.metadata[self._note]))}", "dim")
        return (
            Text(priority.wire, style=_COLORS[priority]),
            f"{document.timestamp.astimezone():%H:%M:%S}",
            f"{result.queue_time + result.processing_time:.2f}",
            f"{result.confidence:.2f}",
            caption,
        )
