"""A checker, cameras and a service around one broker."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from broker.embedded import EmbeddedBroker
from tests.support.cameras import Cameras
from tests.support.checker import PATIENCE_S, Checker
from tests.support.harness import Service


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything a test needs; the service has not been started."""

    checker: Checker
    cameras: Cameras
    service: Service


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "acceptance" in item.path.parts:
            item.add_marker(pytest.mark.timeout(3 * PATIENCE_S))


@asynccontextmanager
async def a_scene(
    folder: Path, port: int, base: str, *, service_port: int | None = None, **service: Any
) -> AsyncIterator[Scene]:
    """Args: service_port: Where the service finds the broker, if a proxy stands between."""
    async with AsyncExitStack() as stack:
        checker = await stack.enter_async_context(Checker(port, base))
        cameras = await stack.enter_async_context(Cameras(port, base, checker))
        running = Service(folder / "service", service_port or port, base, **service)
        yield Scene(checker, cameras, await stack.enter_async_context(running))


@pytest.fixture
async def scene(mosquitto: EmbeddedBroker, topic_base: str, tmp_path: Path) -> AsyncIterator[Scene]:
    """Around the broker of all tests, with a plan of no faults."""
    async with a_scene(tmp_path, mosquitto.port, topic_base) as made:
        yield made
