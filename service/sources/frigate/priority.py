"""How urgent a description is: a pure function of what Frigate says.

Frigate's severity is the best hint there is: an alert is what its user wants to be woken for.
Without one, people come before things, what has entered a zone somebody drew before what has not,
and what is doubtful or has long stood still behind both.
"""

from schemas.frame import Priority
from schemas.frigate import Severity, Subject

_DOUBTFUL_SCORE = 0.6
_PEOPLE = frozenset({"person", "face"})


def priority_of(subject: Subject, *, is_told: bool = False, is_old: bool = False) -> Priority:
    """The class of a description.

    Args:
        subject: What is described.
        is_told: An earlier description of it has been ordered: this one only makes it better.
        is_old: It ended while the service was away.
    """
    if subject.is_false_positive or is_old:
        return Priority.LOW
    if subject.severity is Severity.ALERT:
        is_news = not is_told and not subject.is_stationary
        return Priority.CRITICAL if is_news else Priority.HIGH
    rank = int(Priority.NORMAL)
    if subject.label.lower() in _PEOPLE or subject.zones:
        rank += 1
    if subject.score is not None and subject.score < _DOUBTFUL_SCORE:
        rank -= 1
    if subject.is_stationary:
        rank -= 1
    return Priority(min(max(rank, Priority.LOW), Priority.HIGH))
