"""Patterns of paths in a folder: which files are meant, and which camera a path names.

They are matched against a path relative to the folder, as text. Never as a glob: cameras put
brackets into names, which a glob takes for something else.
"""

import re
from dataclasses import dataclass

MAX_CHARACTERS = 256
# With more of them, a name that somebody chose for it would be matched for minutes.
_MOST_DEEP = 2  # of `**`
_MOST_OPEN = 2  # of `*` and `{camera}` in one element
_REGEX = "re:"
_GROUP = "(?P<camera>[^/]+)"


@dataclass(frozen=True, slots=True)
class PathPattern:
    """A compiled pattern."""

    names_camera: bool
    _compiled: re.Pattern[str]

    @classmethod
    def compile(cls, text: str) -> "PathPattern":
        """Read a pattern.

        Args:
            text: Elements divided by `/`: in one, `*` is any text and `{camera}` the camera;
                an element `**` is any number of elements. Or `re:` and a regular expression for the
                whole path, whose group `camera` is the camera.

        Raises:
            ValueError: It is none.
        """
        source = text[len(_REGEX) :] if text.startswith(_REGEX) else _translated(text)
        try:
            compiled = re.compile(source)
        except (re.error, RecursionError, OverflowError) as error:
            raise ValueError(f"is no pattern: {error}") from None
        return cls("camera" in compiled.groupindex, compiled)

    def matches(self, relative: str) -> bool:
        """Whether a path is meant."""
        return self._compiled.fullmatch(relative) is not None

    def camera_of(self, relative: str) -> str | None:
        """What stands for the camera in a path, unchecked; None where nothing does."""
        found = self._compiled.fullmatch(relative)
        return found["camera"] if found is not None and self.names_camera else None


def _translated(text: str) -> str:
    elements = text.split("/")
    if not all(elements):
        raise ValueError("is no pattern: it has an empty element, or begins or ends with /")
    if elements.count("**") > _MOST_DEEP:
        raise ValueError(f"is no pattern: it has ** more than {_MOST_DEEP} times")
    if any(each.count("*") + each.count("{camera}") > _MOST_OPEN for each in elements):
        raise ValueError(f"is no pattern: an element has more than {_MOST_OPEN} open places")
    *folders, name = elements
    deep = "".join("(?:[^/]+/)*" if each == "**" else f"{_element(each)}/" for each in folders)
    return deep + ("(?:[^/]+/)*[^/]+" if name == "**" else _element(name))


def _element(element: str) -> str:
    parts = re.split(r"(\*|\{camera\})", element)
    known = {"*": "[^/]*", "{camera}": _GROUP}
    return "".join(known.get(part, re.escape(part)) for part in parts)
