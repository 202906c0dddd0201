"""One camera on the screen: its heading, its caption, and what became of its frames."""

from dataclasses import dataclass
from datetime import datetime

from rich.cells import cell_len
from rich.text import Text

from schemas.result import Result, ResultDocument
from service.commands.live.cameras import CameraState
from service.commands.live.marks import PRIORITY_MARKS, PRIORITY_STYLES, endings, lasting
from service.commands.live.wrapping import crop, fit, harmless, wrap

_WIDEST_NAME = 24  # cells
_NAME_IN_LINE = 18
_WIDEST_LOCATION = 30


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of a heading that is left out where there is no room."""

    text: str
    style: str
    keep: int  #: those of the lowest go first


def lines_wanted(camera: CameraState, width: int) -> int:
    """Rows that heading and whole caption fill."""
    result = camera.newest.result if camera.newest else None
    return 1 + (len(wrap(result.caption, width)) if result else 1)


def block(
    camera: CameraState, num_rows: int, width: int, now: datetime, note: str | None
) -> list[Text]:
    """Heading and caption below it, in at most `num_rows` rows.

    Args:
        camera: Which one.
        num_rows: At least 2.
        width: Columns.
        now: For how long ago it was.
        note: Key of the metadata that says what was drawn; below the caption, where there is room.
    """
    lines = [_heading(camera, width, now)]
    document = camera.newest
    if document is None or document.result is None:
        return [*lines, Text("no caption yet", "dim")]
    caption = wrap(document.result.caption, width)
    lines += [Text(line) for line in fit(caption, num_rows - 1, width)]
    if note is not None and (text := _note(document, note)):
        left = num_rows - len(lines)
        lines += [Text(line, "dim italic") for line in fit(wrap(text, width), left, width)]
    return lines


def line(camera: CameraState, width: int, now: datetime) -> Text:
    """Camera and caption in one line, for a screen with many."""
    mark, style = _mark(camera)
    name = crop(harmless(camera.camera_id), _NAME_IN_LINE)
    head = Text.assemble((mark, style), " ", (_padded(name, _NAME_IN_LINE), "bold"), " ")
    document = camera.newest
    age = lasting(_age(document, now)) if document else ""
    head.append(f"{age:>6}  ", "dim")
    tail = Text("  ").append_text(_joined(camera))
    room = max(0, width - head.cell_len - tail.cell_len)
    caption = document.result.caption if document and document.result else ""
    shown = "".join(fit(wrap(caption, room), 1, room)) if room else ""
    return head.append(_padded(shown, room)).append_text(tail)


def _heading(camera: CameraState, width: int, now: datetime) -> Text:
    mark, style = _mark(camera)
    left = [_Piece(crop(harmless(camera.camera_id), _WIDEST_NAME), "bold", 9)]
    if camera.newest is not None:
        left += _about(camera.newest, now, style)
    right = [_Piece(text, tone, 7 - i) for i, (text, tone) in enumerate(endings(camera.endings))]
    while len(left) + len(right) > 1 and _width(left) + _width(right) + 3 > width:
        weakest = min((*left, *right), key=lambda piece: piece.keep)
        (left if weakest in left else right).remove(weakest)
    heading = Text.assemble((f"{mark} ", style))
    _append(heading, left)
    if right:
        heading.append(" " * max(1, width - heading.cell_len - _width(right) + 2))
        _append(heading, right)
    return heading


def _about(document: ResultDocument, now: datetime, style: str) -> list[_Piece]:
    pieces = []
    result = document.result
    location = harmless(document.location or "")
    if location and location.lower() != document.camera_id.replace("_", " ").lower():
        pieces.append(_Piece(crop(location, _WIDEST_LOCATION), "dim", 0))
    if result:
        pieces.append(_Piece(result.model_info.priority.wire, style, 3))
    age = _age(document, now)
    pieces.append(_Piece("now" if age < 1 else f"{lasting(age)} ago", "", 8))
    if result:
        seconds = result.queue_time + result.processing_time
        pieces.append(_Piece(f"in {seconds:.2f} s", "dim", 2))
        pieces.append(_Piece(f"{100 * result.confidence:.0f} % sure", "dim", 1))
        if found := _objects(result):
            pieces.append(_Piece(found, "dim", 1))
    return pieces


def _objects(result: Result) -> str:
    return ", ".join(
        f"{each.count} × {crop(harmless(each.label), 16)}" for each in result.objects if each.count
    )


def _note(document: ResultDocument, key: str) -> str:
    value = document.metadata.get(key)
    return "" if value is None else f"drawn: {harmless(str(value))}"


def _mark(camera: CameraState) -> tuple[str, str]:
    if camera.priority is None:
        return "  ", ""
    return PRIORITY_MARKS[camera.priority], PRIORITY_STYLES[camera.priority]


def _age(document: ResultDocument, now: datetime) -> float:
    # Another machine's clock may be ahead of ours.
    return max(0.0, (now - document.timestamp).total_seconds())


def _joined(camera: CameraState) -> Text:
    text = Text()
    _append(text, [_Piece(*each, keep=0) for each in endings(camera.endings)])
    return text


def _append(text: Text, pieces: list[_Piece]) -> None:
    for i, piece in enumerate(pieces):
        text.append("  " if i else "").append(piece.text, piece.style or None)


def _width(pieces: list[_Piece]) -> int:
    """Cells of the pieces with two spaces after each."""
    return sum(cell_len(piece.text) + 2 for piece in pieces)


def _padded(text: str, width: int) -> str:
    return text + " " * max(0, width - cell_len(text))
