"""One service with the demonstration model for all clients."""

import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from broker.embedded import EmbeddedBroker
from demo.scenes.scene import Kind
from tests.support.gateway import Gateway, gateway
from tests.support.scenes import drawn_with


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    skip = pytest.mark.skip(reason="needs an environment and others' sources: make test-clients")
    for item in items:
        if "clients" in item.path.parts:
            item.add_marker(pytest.mark.timeout(300))
            if "LLMVISION_SOURCE" not in os.environ:  # or a service would be started for nothing
                item.add_marker(skip)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def service(
    mosquitto: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    folder = tmp_path_factory.mktemp("clients") / "service"
    async with gateway(mosquitto, folder, "http/clients", with_model=True) as it:
        yield it


@pytest.fixture(scope="session")
def scene() -> bytes:
    """A dog and a person."""
    return drawn_with(Kind.DOG, Kind.PERSON)
