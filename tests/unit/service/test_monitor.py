"""What is said of the engines' health; the documents as a whole are tested with a real service."""

from dataclasses import dataclass

import pytest

from schemas.status import LoadedModel, ModelState, ModelStatus
from service.monitor import engine_health


@dataclass(frozen=True, slots=True)
class Engine:
    """What is seen of an engine."""

    kind: ModelState
    silent_s: float = 0.0
    message: str | None = None
    capacity: int = 1
    loaded: LoadedModel | None = None

    @property
    def state(self) -> ModelStatus:
        return ModelStatus(
            name="tiny",
            revision="1",
            device="cuda:1",
            dtype="auto",
            state=self.kind,
            message=self.message,
        )


@pytest.mark.parametrize(
    ("engines", "status", "message"),
    [
        ([Engine("ready")], "healthy", "ready"),
        ([Engine("ready"), Engine("unloaded")], "healthy", "ready, unloaded"),
        ([Engine("loading", message="12 %")], "degraded", "12 %"),
        ([Engine("failed", message="no such file")], "unhealthy", "no such file"),
        ([Engine("failed", message="no such file"), Engine("ready")], "degraded", "no such file"),
        ([Engine("ready", 9.9)], "healthy", "ready"),
        (
            [Engine("ready"), Engine("ready", 12.3)],
            "degraded",
            "the engine on cuda:1 has been silent for 12 s",
        ),
    ],
)
def test_engine_health_follows_the_engines(
    engines: list[Engine], status: str, message: str
) -> None:
    check = engine_health(engines)
    assert (check.status, check.message) == (status, message)
