"""How the rows of a screen are shared out among cameras; numbers only."""

from collections.abc import Sequence
from dataclasses import dataclass

#: Cameras with more rows have an empty one between them; with a picture none gives away its last.
DENSE_ROWS = 4
_LEAST_FOR_PICTURE = 3  # rows; less shows nothing
_MOST_ROWS = 12  # of one camera; more is only emptiness
_PICTURE_SHAPE = 32 / 9  # cells across for one row: 16:9, and a cell is twice as high as wide
_LEAST_TEXT = 38  # columns beside a picture
_NORMAL_CAPTION = 130  # cells that are left to it: the demonstration's longest has 122
_ONE_LINE_WIDTH = 100  # from here on a camera and its caption can share a line


@dataclass(frozen=True, slots=True)
class Plan:
    """How cameras stand on the screen."""

    num_shown: int
    slot: int  #: rows for each, heading and caption; 1: both share a line
    picture_width: int  #: columns; 0: without pictures
    spare: int  #: rows that are nobody's


def plan(num_cameras: int, width: int, height: int, with_pictures: bool) -> Plan:
    """Share out `height` rows of `width` columns.

    Where not all cameras have room, a row is kept to say how many are missing.
    """
    if not num_cameras or height < 1:
        return Plan(0, 1, 0, max(0, height))
    slot = min(height // num_cameras, _MOST_ROWS)
    num_shown = num_cameras
    if slot < 2:
        slot = 1 if width >= _ONE_LINE_WIDTH or height < 2 else 2
        if num_cameras * slot > height:
            num_shown = max(0, (height - 1) // slot)
    picture_width = _picture_width(slot, width) if with_pictures else 0
    return Plan(num_shown, slot, picture_width, height - num_shown * slot)


def _picture_width(slot: int, width: int) -> int:
    if slot < _LEAST_FOR_PICTURE:
        return 0
    num_rows = slot - (slot > DENSE_ROWS)
    wide = min(round(num_rows * _PICTURE_SHAPE), width // 4)
    beside = width - wide
    has_room = beside >= _LEAST_TEXT and (slot - 1) * beside >= _NORMAL_CAPTION
    return wide if has_room else 0


def share(
    slot: int, wants: Sequence[int], by_age: Sequence[int], spare: int, least: int
) -> list[int]:
    """Rows of each camera.

    Who wants more than its slot takes what is spare, and the newest one also what others leave.

    Args:
        slot: Rows that each has.
        wants: Rows that each could fill.
        by_age: Positions in `wants`, the newest first.
        spare: Rows to give away.
        least: Rows that the newest one leaves to each other: as high as a picture is.
    """
    rows = [slot] * len(wants)
    for i in by_age:
        given = min(spare, max(0, wants[i] - slot))
        rows[i] += given
        spare -= given
    newest = by_age[0] if by_age else 0
    for i in reversed(by_age[1:]):
        missing = wants[newest] - rows[newest]
        if missing <= 0:
            break
        taken = min(missing, max(0, rows[i] - max(wants[i], least)))
        rows[i] -= taken
        rows[newest] += taken
    return rows
