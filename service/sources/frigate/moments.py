"""When a tracked object or a review is described: pure rules of what is known of it.

A first time early, when it becomes an alert; a last time at its end, from the best frame; in
between, where that is wanted, when it looks different. Never twice at once: while an earlier
description of it waits for its turn only the last one may be ordered, which takes its place.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from schemas.frigate import Severity, Subject

UPDATE_EVERY_S = 10.0
#: Frigate says `end` before it has written the last snapshot and the event's row.
SETTLE_S = 1.0
#: What is followed for so long is a parked car, or its end was lost.
LONGEST_S = 86_400.0


class Step(StrEnum):
    """What is due; the first three are moments of a description."""

    EARLY = "early"
    UPDATE = "update"
    FINAL = "final"
    NOTHING = "nothing"
    LET_GO = "let_go"  #: it will not be described, any more or at all


@dataclass(slots=True, eq=False)
class Followed:
    """What is known of one tracked object or review; moments are monotonic seconds.

    Attributes:
        subject: As Frigate said it last.
        first_heard: When it was heard of.
        heard: When it was heard of last.
        ended: When its end was heard.
        described: As it was when a description was ordered last.
        described_at: When that was.
        num_described: How many were ordered.
        waiting_key: The job that was ordered last, while it has not ended.
        is_done: Nothing of it is to be described any more.
        is_early_given_up: There was no picture for the first description.
        is_old: It ended while the service was away.
        is_busy: Its picture is being fetched.
        num_failures: Tries in a row without a picture.
        not_before: When the next try is due.
        asked: When Frigate was asked about it because it was silent.
    """

    subject: Subject
    first_heard: float
    heard: float
    ended: float | None = None
    described: Subject | None = None
    described_at: float = float("-inf")
    num_described: int = 0
    waiting_key: str | None = None
    is_done: bool = False
    is_early_given_up: bool = False
    is_old: bool = False
    is_busy: bool = False
    num_failures: int = 0
    not_before: float = 0.0
    asked: float = float("-inf")

    def hear(self, subject: Subject, now: float) -> None:
        """Frigate says more of it; its end stays its end, and it is no less than it was."""
        if self.ended is not None and not subject.is_ended:
            return  # came late
        self.subject, self.heard = _merged(self.subject, subject), now
        if subject.is_ended and self.ended is None:
            self.ended = now
            self.num_failures, self.not_before = 0, 0.0


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator wants."""

    is_wanted: Callable[[Subject], bool]
    early: bool = True
    updates: bool = False


def step(each: Followed, policy: Policy, now: float) -> Step:
    """What is due of it now."""
    if each.is_done or each.is_busy or now < each.not_before:
        return Step.NOTHING
    is_wanted = not each.subject.is_false_positive and policy.is_wanted(each.subject)
    if each.ended is not None:
        if not is_wanted:
            return Step.LET_GO
        return Step.FINAL if now >= each.ended + SETTLE_S else Step.NOTHING
    if now - each.first_heard >= LONGEST_S:
        return Step.LET_GO
    if not is_wanted or each.waiting_key is not None:
        return Step.NOTHING
    return _between(each, policy, now)


def _between(each: Followed, policy: Policy, now: float) -> Step:
    """What is due of one that goes on."""
    is_alert = each.subject.severity is Severity.ALERT
    if policy.early and is_alert and not each.num_described and not each.is_early_given_up:
        return Step.EARLY
    is_due = now - each.described_at >= UPDATE_EVERY_S
    if policy.updates and is_due and _has_changed(each.subject, each.described):
        return Step.UPDATE
    return Step.NOTHING


def _has_changed(now: Subject, before: Subject | None) -> bool:
    if before is None:
        return True
    fields = ("frame_time", "zones", "sub_label", "severity", "label", "is_stationary")
    return any(getattr(now, name) != getattr(before, name) for name in fields)


def _merged(before: Subject, after: Subject) -> Subject:
    """What is said now, and what was said before where nothing is said now.

    The database knows less than the messages: neither when the snapshot is from, nor, before 0.15,
    the severity.
    """
    kept = {
        name: getattr(before, name)
        for name in ("severity", "score", "frame_time", "box", "sub_label", "started")
        if getattr(after, name) is None
    }
    if not after.zones:
        kept["zones"] = before.zones
    if not after.detections:
        kept["detections"] = before.detections
    return after.model_copy(update=kept)
