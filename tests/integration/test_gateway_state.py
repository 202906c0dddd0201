"""The gateway of a whole service: how it is, and how a frame gets in and out."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from broker.embedded import EmbeddedBroker
from tests.support.gateway import Gateway, gateway

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    mosquitto: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    async with gateway(mosquitto, tmp_path_factory.mktemp("state") / "service", "http/state") as it:
        yield it


async def test_health_names_every_part(service: Gateway) -> None:
    answer = await service.client.get("/health")

    assert answer.status_code == 200
    assert answer.json()["status"] == "healthy"
    assert {"broker", "engine", "store", "webhooks", "disk"} <= answer.json()["checks"].keys()


async def test_orchestrators_have_short_answers(service: Gateway) -> None:
    live, ready = await service.client.get("/livez"), await service.client.get("/readyz")

    assert (live.status_code, ready.status_code) == (200, 200)
