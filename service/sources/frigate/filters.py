"""Which tracked objects and reviews are described at all: pure, by camera."""

from collections.abc import Collection
from dataclasses import dataclass

from schemas.frigate import Severity, Subject
from service.frigate_settings import FrigateCameraSettings, FrigateSettings


@dataclass(frozen=True, slots=True)
class Filter:
    """What one camera is to be described for; empty and None let everything pass."""

    is_enabled: bool = True
    labels: Collection[str] = ()
    zones: Collection[str] = ()
    min_score: float = 0.0
    min_severity: Severity | None = None

    def passes(self, subject: Subject) -> bool:
        """Whether it is wanted, as it is now: it may still enter a zone, or become an alert."""
        return (
            self.passes_label(subject)
            and _meets(self.zones, subject.zones)
            and (subject.score is None or subject.score >= self.min_score)
            and (self.min_severity is None or _rank(subject.severity) >= self.min_severity.rank)
        )

    def passes_label(self, subject: Subject) -> bool:
        """The same, where nothing but the label is known."""
        return self.is_enabled and _meets(self.labels, (subject.label, subject.sub_label or ""))


def filter_of(settings: FrigateSettings, camera: str) -> Filter:
    """What one of Frigate's cameras is described for: its own settings before the common ones."""
    own = settings.cameras.get(camera, FrigateCameraSettings())
    severity = settings.min_severity if own.min_severity is None else own.min_severity
    return Filter(
        is_enabled=own.enabled,
        labels=settings.labels if own.labels is None else own.labels,
        zones=settings.zones if own.zones is None else own.zones,
        min_score=settings.min_score if own.min_score is None else own.min_score,
        min_severity=None if severity == "any" else Severity(severity),
    )


def _meets(wanted: Collection[str], found: Collection[str]) -> bool:
    return not wanted or not {each.casefold() for each in wanted}.isdisjoint(
        each.casefold() for each in found
    )


def _rank(severity: Severity | None) -> int:
    return 0 if severity is None else severity.rank
