"""What is said of the engines together; the documents as a whole are tested with a real service."""

from dataclasses import dataclass

import pytest

from schemas.status import LoadedModel, ModelState, ModelStatus
from service.engines.view import EnginesView


@dataclass(slots=True)
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
    check = EnginesView(engines).health()
    assert (check.status, check.message) == (status, message)


def test_engine_that_is_tried_again_after_a_failure_stays_unhealthy_until_it_is_ready() -> None:
    """Else a model that can never be loaded is green each time it is tried."""
    engine = Engine("loading")
    view = EnginesView([engine])
    assert view.health().status == "degraded"
    engine.kind, engine.message = "failed", "no such file"
    view.model()  # `bridge/info` looks often
    engine.kind, engine.message = "loading", "starting"
    check = view.health()
    assert (check.status, check.message) == ("unhealthy", "tried again after: no such file")
    engine.kind, engine.message = "ready", None
    assert view.health().status == "healthy"
    engine.kind = "loading"
    assert view.health().status == "degraded"


def test_one_failed_engine_beside_a_ready_one_only_degrades() -> None:
    engines = [Engine("failed", message="no such file"), Engine("ready")]
    view = EnginesView(engines)
    assert (view.health().status, view.has_ready, view.capacity) == ("degraded", True, 2)
    engines[1].kind = "loading"
    assert view.health().status == "unhealthy"
