"""What foreign systems call their cameras, and which camera of ours that is.

A name that cannot be a camera id becomes one: `Front Door` is `Front_Door`. Two names that would
become the same are told apart by a suffix of the later one; who is the later one is kept with the
camera, so that it stays so across restarts.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from schemas.frame import is_camera_id

_OTHER = re.compile(r"[^A-Za-z0-9_-]")
_LONGEST = 64
_SUFFIX = 6  # hexadecimal digits: two of 256 names share one with a probability of 1 in 500
_LONG_SUFFIX = 32  # where the short one is another's: nobody finds two names with the same
_MOST_REMEMBERED = 4096  # whoever may publish invents names


@dataclass(frozen=True, slots=True)
class Named:
    """A camera that a foreign system has named."""

    camera_id: str
    name: str | None  #: as it was said; None where the operator has said whose it is


@dataclass(slots=True)
class Names:
    """Finds the camera of a foreign name.

    Args:
        kept: The foreign name that a camera is known under, from this run or an earlier one.
    """

    kept: Callable[[str], str | None]
    #: By camera, those whose first frame is not accepted yet; the oldest are forgotten.
    _given: dict[str, str] = field(default_factory=dict)

    def find(self, name: str, by_hand: Mapping[str, str] | None = None) -> Named | None:
        """The camera of a name, with the name that is its own; see `camera_of`."""
        camera_id = self.camera_of(name, by_hand)
        if camera_id is None:
            return None
        return Named(camera_id, None if by_hand and name in by_hand else name)

    def camera_of(self, name: str, by_hand: Mapping[str, str] | None = None) -> str | None:
        """The id of a camera.

        Args:
            name: As the foreign system says it.
            by_hand: What the operator's file says of names; no other rule is asked for those, and
                no other name gets their cameras.

        Returns:
            None where there is no name.
        """
        if by_hand and name in by_hand:
            return by_hand[name]
        if not name:
            return None
        plain, apart = _plain(name), _apart(name)
        is_another = self._owner(plain) not in {None, name} or plain in (by_hand or {}).values()
        if not is_another and self._owner(apart) != name:
            return self._give(plain, name)
        if self._owner(apart) not in {None, name}:  # somebody has taken a name that looks so
            apart = _apart(name, _LONG_SUFFIX)
        return self._give(apart, name)

    def _owner(self, camera_id: str) -> str | None:
        return self._given.get(camera_id) or self.kept(camera_id)

    def _give(self, camera_id: str, name: str) -> str:
        self._given.pop(camera_id, None)
        self._given[camera_id] = name
        if len(self._given) > _MOST_REMEMBERED:
            del self._given[next(iter(self._given))]
        return camera_id


def _plain(name: str) -> str:
    """The name itself where it can be an id, else one made of it."""
    changed = _OTHER.sub("_", name)
    return changed if is_camera_id(changed) else _apart(name)


def _apart(name: str, digits: int = _SUFFIX) -> str:
    """An id that no other name has, unless it was chosen to."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:digits]
    return f"{_OTHER.sub('_', name)[: _LONGEST - digits - 1]}_{digest}"
