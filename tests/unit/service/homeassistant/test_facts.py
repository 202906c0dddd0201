"""What the service shows of itself follows the machine."""

from pathlib import Path

import pytest

from broker.topics import Topics
from engine.protocol import ModelOptions
from schemas.status import Gpu, GpuMemory
from service.cameras import Cameras
from service.clock import Clock
from service.homeassistant.bridge import BridgeFacts
from service.homeassistant.facts import FactsWatch
from service.homeassistant.wanted import WantedDevices
from service.settings import ModelSettings, Settings
from service.store.store import Store
from tests.unit.service.homeassistant.bench import SilentAnnouncer


def gpu(number: int, name: str) -> Gpu:
    memory = GpuMemory(total=1, used=0, free=1)
    return Gpu(id=number, name=name, memory=memory, temperature=None, utilization=None, power=None)


class Chosen:
    """The engines' model."""

    def __init__(self, name: str) -> None:
        self.chosen = ModelOptions(name=name, revision="main", device="cpu", dtype="auto")


def make_model(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"x")
    return folder


@pytest.fixture
async def wanted(tmp_path: Path) -> WantedDevices:
    settings, topics = Settings(), Topics("base")
    async with Store.open(f"sqlite:///{tmp_path / 'store.db'}") as store:
        cameras = Cameras(settings, topics, store, SilentAnnouncer(), Clock())
    facts = BridgeFacts("1.2.3", gpus=(), models=(), check_updates=False)
    return WantedDevices(settings.homeassistant, topics, cameras, facts)


async def test_models_are_listed_and_a_new_one_is_told(
    wanted: WantedDevices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    folders = tmp_path / "models"
    folders.mkdir()
    first = make_model(folders / "first")
    told: list[None] = []
    watch = FactsWatch(
        wanted,
        Chosen("owner/present"),
        ModelSettings(folders=(folders,)),
        lambda: (),
        lambda: told.append(None),
    )
    for _ in range(2):
        await watch.look()
    assert list(wanted.facts.models) == ["owner/present", str(first)]
    assert len(told) == 1
    second = make_model(folders / "second")
    await watch.look()
    assert set(wanted.facts.models) == {"owner/present", str(first), str(second)}
    assert len(told) == 2


async def test_gpu_that_gives_no_answer_now_is_there_all_the_same(
    wanted: WantedDevices, caplog: pytest.LogCaptureFixture
) -> None:
    readings: list[tuple[Gpu, ...]] = [(gpu(0, "A"), gpu(1, "B")), (gpu(1, "B"),), ()]

    def read() -> tuple[Gpu, ...]:
        return readings.pop(0)

    watch = FactsWatch(wanted, Chosen("a/b"), ModelSettings(), read, lambda: None)
    for _ in range(4):  # the last time nothing can be read at all
        await watch.look()
        assert wanted.facts.gpus == ("A", "B")
    assert any(each.exc_info for each in caplog.records)
