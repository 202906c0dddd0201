"""One line of `doctor`'s report."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "TODO"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one part.

    With `note` the service works, and something limps; with `TODO` it does not, or not as the
    settings want it. Both say what to change, or which command to run.
    """

    part: str
    level: Level
    text: str
