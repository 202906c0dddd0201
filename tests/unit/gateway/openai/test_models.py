"""What the list of models says of the machine."""

from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

from gateway.app import make_app
from gateway.backend import Backend
from schemas.requests.models import ModelInfo
from schemas.status import Gpu, GpuMemory, Metrics, ModelStatus
from tests.unit.gateway.apps import options

OPTIONS = options(max_image_bytes=1 << 20, timeout_s=5)


class Machine:
    """A backend that knows its model and its GPUs, and nothing else."""

    def __init__(self, gpus: tuple[Gpu, ...]) -> None:
        self._gpus = gpus

    async def call(self, operation: str, content: dict[str, Any]) -> ModelInfo:
        assert (operation, content) == ("model/info", {})
        status = ModelStatus(
            name="some/model", revision="r", device="cpu", dtype="x", state="ready"
        )
        return ModelInfo(model=status, engines=(status,), loaded_models=())

    async def readings(self) -> Any:
        metrics = Metrics(cpu=0, memory=0, device="x", gpus=self._gpus, loaded_models=())
        return SimpleNamespace(metrics=metrics)


def gpu(used: int, total: int) -> Gpu:
    memory = GpuMemory(total=total << 20, used=used << 20, free=(total - used) << 20)
    return Gpu(id=0, name="x", memory=memory, temperature=None, utilization=None, power=None)


async def listed(path: str, *gpus: Gpu) -> httpx.Response:
    transport = httpx.ASGITransport(make_app(cast("Backend", Machine(gpus)), OPTIONS))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        return await client.get(path)


@pytest.mark.parametrize(
    ("gpus", "used", "total"),
    [((), None, None), ((gpu(1000, 8000), gpu(500, 4000)), "1500", "12000")],
)
async def test_the_memory_of_all_gpus_is_in_the_headers(
    gpus: tuple[Gpu, ...], used: str | None, total: str | None
) -> None:
    headers = (await listed("/v1/models", *gpus)).headers

    assert (headers.get("x-vram-used"), headers.get("x-vram-total")) == (used, total)


@pytest.mark.parametrize("name", ["some/model", "some%2Fmodel", "model", "Model"])
async def test_a_model_is_found_by_its_id_or_the_last_part_of_it(name: str) -> None:
    assert (await listed(f"/v1/models/{name}")).json()["id"] == "some/model"


async def test_another_model_is_not_there() -> None:
    answer = await listed("/v1/models/gpt-x")

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
