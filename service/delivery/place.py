"""Where a waiting job stands, for its `queued` status."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """A job's place among those that wait."""

    position: int  #: 1 is next
    wait_s: float | None  #: seconds until its caption; None: nothing is known of the pace
    message: str  #: for people: what it waits for
