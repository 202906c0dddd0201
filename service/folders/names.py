"""What a path says: when the picture was taken, and how it can be shown.

Cameras write the time into names in local time and in a layout of their own; where none is found,
the file's own time counts.
"""

import re
from datetime import UTC, datetime, timedelta, tzinfo

_MOST_SHOWN = 512  # of a path, in metadata and messages
_FUTURE = timedelta(days=1)  # a name that is further ahead is no time

_DATE = r"(?P<Y>20\d\d)-?(?P<m>\d\d)-?(?P<d>\d\d)"
_LAYOUTS = tuple(
    re.compile(layout)
    for layout in (
        # Dahua, Amcrest, Lorex: 2019-05-09/001/jpg/06/07/27[M][0@0][0].jpg, …/06/07.27[…], and
        # clips 2019-05-09/001/dav/06/06.07.27-06.07.52[M][0@0][0].mp4
        _DATE + r"/\d+/dav/\d\d/(?P<H>\d\d)\.(?P<M>\d\d)\.(?P<S>\d\d)-",
        _DATE + r"/\d+/\w+/(?P<H>\d\d)/(?P<M>\d\d)[/.](?P<S>\d\d)\[",
        # yi-hack: 2021Y07M05D14H/11M10S50.mp4
        r"(?P<Y>20\d\d)Y(?P<m>\d\d)M(?P<d>\d\d)D(?P<H>\d\d)H/(?P<M>\d\d)M(?P<S>\d\d)S",
        # Foscam 20180914-111429, Reolink 20240605152917, Hikvision 20190827095800502 (ms), others
        r"(?<!\d)"
        + _DATE
        + r"[T_ -]?(?P<H>\d\d)[-.:h]?(?P<M>\d\d)[-.:m]?(?P<S>\d\d)(?:\d{3})?(?!\d)",
    )
)


def taken_at(relative: str, changed_at: datetime, zone: tzinfo | None) -> datetime:
    """When a picture was taken, by its path.

    Args:
        relative: Its path in the folder.
        changed_at: When the file was last changed; the answer where the path says nothing.
        zone: Of the times in names; None: the service's own.
    """
    for layout in _LAYOUTS:
        if found := list(layout.finditer(relative)):
            try:
                moment = _moment(found[-1], zone)
            except (ValueError, OverflowError, OSError):
                continue
            if moment <= changed_at + _FUTURE:
                return moment
    return changed_at


def _moment(found: re.Match[str], zone: tzinfo | None) -> datetime:
    """The time in a name; ValueError, OverflowError or OSError where it is none."""
    year, month, day, hour, minute, second = (int(found[part]) for part in "YmdHMS")
    local = datetime(year, month, day, hour, minute, second, tzinfo=zone)
    return local.astimezone(UTC)  # without a zone it is the service's own


def shown(relative: str) -> str:
    """A path as it can be published: names can hold line breaks, and bytes that are no UTF-8."""
    clean = relative.encode("utf-8", "backslashreplace").decode()
    clean = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in clean)
    return clean if len(clean) <= _MOST_SHOWN else f"…{clean[1 - _MOST_SHOWN :]}"
