"""Where a soak takes place: a broker, cameras, a counter outside and a real service.

The engine has no model and needs 5 ms for a frame: it is not what is asked about.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker.embedded import EmbeddedBroker
from tests.support.cameras import Cameras
from tests.support.checker import Checker
from tests.support.faulty_service import Plan
from tests.support.harness import Service

MOST_OPEN = 2000  # beyond what the service has in hand, or the broker would drop silently
_QUEUE = 300


@dataclass(frozen=True, slots=True)
class Site:
    """Who is there."""

    broker: EmbeddedBroker
    checker: Checker
    cameras: Cameras
    service: Service  #: which has not begun to live


@asynccontextmanager
async def open_site(folder: Path, seed: int, **settings: dict[str, Any]) -> AsyncIterator[Site]:
    """Open one in an empty folder.

    Args:
        folder: For the broker's and the service's data.
        seed: Of pictures and cameras.
        settings: Sections of the service's settings.
    """
    lines = ("max_queued_messages 100000",)
    async with (
        EmbeddedBroker(folder / "broker", extra_lines=lines) as broker,
        Checker(broker.port, "soak") as checker,
        Cameras(broker.port, "soak", checker, seed=seed, num_cameras=20) as cameras,
        Service(
            folder / "service",
            broker.port,
            "soak",
            settings={
                "queue": {"capacity": _QUEUE, "retry_delay": 0.2},
                "store": {"keep_finished": 120.0, "cleanup_interval": 10.0},
                **settings,
            },
            plan=Plan(folder="", engine=("--pace-ms", "5", "--capacity", "8")),
        ) as service,
    ):
        yield Site(broker, checker, cameras, service)
