"""The live view of `watch` and `demo`: what the service has said so far, as one screen.

Fed with documents, composed on demand: no broker, no terminal, and a clock that is given in.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment
from rich.text import Text

from schemas.job import JobStatus
from schemas.result import ResultDocument
from schemas.status import Stats, StatusDocument
from service.clock import Clock
from service.commands.follow import BrokerLost, CameraForgotten, CameraImage, Document
from service.commands.live import half_blocks, rows
from service.commands.live.cameras import Cameras, CameraState
from service.commands.live.frame import Frame, Place, Row
from service.commands.live.layout import DENSE_ROWS, Plan, plan, share
from service.commands.live.service_state import ServiceState
from service.commands.live.sparkline import CaptionRate
from service.commands.live.thumbnails import Thumbnails
from service.commands.live.work import Work
from service.commands.live.wrapping import crop, fit, harmless, wrap

_WIDEST_SPARKLINE = 30  # five minutes
_LOW_SCREEN = 20  # rows; below, what is good to know makes room for captions
_MOST_GPUS = 4
_CELL = (10, 20)  # pixels; its shape counts
_UNSEEN_AFTER_S = 3.0  # a camera's retained caption comes at once


class View:
    """Everything on the screen.

    Args:
        title: First words, e.g. where the broker is.
        note: Key of the metadata in which drawn cameras say what they drew.
        clock: For how long ago everything was.
        camera: The only one that is followed; `+` for all.
        with_images: Keep room for pictures.
        footer: Last lines.
    """

    def __init__(
        self,
        title: str,
        note: str | None = None,
        *,
        clock: Clock | None = None,
        camera: str = "+",
        with_images: bool = False,
        footer: Sequence[str] = (),
    ) -> None:
        self.thumbnails = Thumbnails()
        self.is_closed = False  #: `q` was pressed
        self.pictured: frozenset[str] = frozenset()  #: cameras that had room for one lately
        self._title = title
        self._note = note
        self._clock = clock or Clock()
        self._camera = camera
        self._with_images = with_images
        self._footer = tuple(footer)
        self._opened = self._clock.monotonic()
        self._service = ServiceState()
        self._cameras = Cameras()
        self._work = Work()
        self._rate = CaptionRate()
        self._is_paused = False
        self._frozen: Frame | None = None
        self._size = (0, 0)

    def feed(self, document: Document) -> None:
        """Take in what was published."""
        match document:
            case ResultDocument():
                self._cameras.caption(document)
            case StatusDocument():
                self._feed_status(document)
            case CameraImage():
                self.thumbnails.put(document.camera_id, document.jpeg)
            case CameraForgotten():
                self._cameras.forget(document.camera_id)
                self.thumbnails.keep(document.camera_id, None)
            case _:
                now = self._clock.now()
                self._service.feed(document, now)
                if isinstance(document, Stats):
                    self._work.reconcile(document, now)
                elif isinstance(document, BrokerLost) or document == "offline":
                    self._work.clear()

    def press(self, key: str) -> None:
        """Take in a key: `q` closes the view, `p` lets it stand still and go on."""
        if key in "qQ":
            self.is_closed = True
        elif key in "pP":
            self._is_paused = not self._is_paused
            self._frozen = None

    def render(self) -> RenderableType:
        """The screen as it is now, in the console's width and height, with pictures of blocks."""
        return _Rendered(self)

    def compose(self, width: int, height: int) -> Frame:
        """The lines of the screen as it is now; the same again while the view is paused."""
        if self._frozen is not None and self._size == (width, height):
            return self._frozen
        self._size = (width, height)
        now = self._clock.now()
        head = [Row(line) for line in self._head(width, height, now)][:height]
        foot = [Row(line) for line in self._foot(width, height)][: max(0, height - len(head) - 4)]
        frame = Frame(head)
        self._add_cameras(frame, width, height - len(head) - len(foot), now)
        blank = height - len(frame.rows) - len(foot)
        frame.rows += [Row(Text())] * blank + foot
        for row in frame.rows:
            row.text.truncate(max(0, width - row.indent), overflow="ellipsis")
        self.pictured = frozenset(place.camera_id for place in frame.places)
        if self._is_paused:
            self._frozen = frame
        return frame

    def _feed_status(self, document: StatusDocument) -> None:
        self._work.feed(document)
        if document.status.is_final:
            self._cameras.ending(document)
        if document.status is JobStatus.COMPLETED:
            self._rate.count(self._clock.monotonic())

    def _head(self, width: int, height: int, now: datetime) -> Iterator[Text]:
        yield self._heading(width, now)
        yield from self._service.model(width)
        if height >= _LOW_SCREEN:
            for line in self._service.gpus()[:_MOST_GPUS]:
                yield Text(crop(line, width), "dim")
        yield from self._service.problems(now, width, max(2, height // 4))
        queue = self._service.queue(self._work, now)
        queue.truncate(width, overflow="ellipsis")
        yield queue

    def _heading(self, width: int, now: datetime) -> Text:
        state = self._service.word(now)
        if self._is_paused:
            state.append("  ‖ view paused, p goes on", "bold yellow")
        room = width - state.cell_len - 2
        heading = Text(crop(harmless(self._title), room), "bold").append("  ").append_text(state)
        rate = self._service.rate()
        cells = min(_WIDEST_SPARKLINE, width - heading.cell_len - len(rate) - 4)
        if cells >= 5:
            bars = self._rate.bars(self._clock.monotonic(), cells)
            gap = width - heading.cell_len - cells - len(rate) - 1
            heading.append(" " * gap).append(bars, "green").append(f" {rate}", "dim")
        return heading

    def _foot(self, width: int, height: int) -> Iterator[Text]:
        if height >= _LOW_SCREEN:
            yield Text(crop(self._service.latency(), width), "dim")
        for line in self._footer:
            yield Text(crop(line, width), "dim")

    def _add_cameras(self, frame: Frame, width: int, height: int, now: datetime) -> None:
        if not len(self._cameras):
            frame.rows += [Row(line) for line in self._nothing_yet(width)][: max(0, height)]
            return
        planned = plan(len(self._cameras), width, height, self._with_images)
        cameras = self._cameras.shown(planned.num_shown, now)
        if planned.slot == 1:
            frame.rows += [Row(rows.line(camera, width, now)) for camera in cameras]
        else:
            self._add_blocks(frame, cameras, planned, width, now)
        if (num_missing := len(self._cameras) - len(cameras)) and height > 0:
            cameras_word = "camera" if num_missing == 1 else "cameras"
            text = f"… and {num_missing} more {cameras_word} not shown"
            frame.rows.append(Row(Text(text, "dim")))

    def _add_blocks(
        self, frame: Frame, cameras: Sequence[CameraState], planned: Plan, width: int, now: datetime
    ) -> None:
        indent = planned.picture_width + 1 if planned.picture_width else 0
        room = width - indent
        wants = [rows.lines_wanted(camera, room) for camera in cameras]
        by_age = sorted(range(len(cameras)), key=lambda i: _age_rank(cameras[i]), reverse=True)
        least = DENSE_ROWS if indent else 1
        spare = planned.spare - (len(self._cameras) > len(cameras))
        shares = share(planned.slot, wants, by_age, spare, least)
        for camera, wanted, num_rows in zip(cameras, wants, shares, strict=True):
            # The last row stays empty where the text leaves it.
            height = num_rows - (num_rows > DENSE_ROWS and wanted < num_rows)
            if indent:
                picture = self.thumbnails.get(camera.camera_id)
                place = (camera.camera_id, len(frame.rows), 0, planned.picture_width, height)
                frame.places.append(Place(*place, picture))
            lines = rows.block(camera, height, room, now, self._note)
            lines += [Text()] * (height - len(lines))
            frame.rows += [Row(line, indent) for line in lines]
            frame.rows += [Row(Text())] * (num_rows - height)

    def _nothing_yet(self, width: int) -> list[Text]:
        waited = self._clock.monotonic() - self._opened
        if self._camera == "+" or waited < _UNSEEN_AFTER_S:
            return [Text("no captions yet", "dim")]
        known = ", ".join(self._service.camera_names)
        text = f"nothing of camera {self._camera} yet; no caption of it is kept on this broker"
        if known:
            text += f". Cameras of the settings: {known}"
        return [Text(line, "yellow") for line in fit(wrap(text, width), 4, width)]


class _Rendered:
    """A view for any console of rich's, e.g. one that records."""

    def __init__(self, view: View) -> None:
        self._view = view

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        self._view.thumbnails.decode_waiting()
        frame = self._view.compose(options.max_width, options.height or console.height)
        pictures = _blocks(frame)
        for i, row in enumerate(frame.rows):
            left = pictures.get(i, [])
            yield from left
            yield Segment(" " * (row.indent - len(left)))
            yield from row.segments(console)
            yield Segment.line()


def _blocks(frame: Frame) -> dict[int, list[Segment]]:
    """The cells of all pictures, by row."""
    found: dict[int, list[Segment]] = {}
    for place in frame.places:
        if place.picture is None:
            continue
        size = half_blocks.fitted(place.picture.size, place.width, place.height, _CELL)
        for i, cells in enumerate(half_blocks.segments(place.picture, *size)):
            found[place.row + i] = cells
    return found


def _age_rank(camera: CameraState) -> float:
    return camera.newest.timestamp.timestamp() if camera.newest else 0.0
