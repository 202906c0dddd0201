"""Settings of cameras, with a real store."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from schemas.camera import CameraSettings
from service.cameras import Cameras
from service.errors import ConfigurationError
from service.settings import Settings
from service.store.store import Store


class Announcer:
    """Hears what is published; breaks at a camera named `breaks`."""

    def __init__(self) -> None:
        self.heard: dict[str, BaseModel] = {}

    def announce(self, document: BaseModel, *, camera_id: str) -> bool:
        if camera_id == "breaks":
            raise RuntimeError("nobody expected this")
        self.heard[camera_id] = document
        return True


FILE = {"front": CameraSettings(cooldown=5), "back": CameraSettings(cooldown=7)}


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with Store.open(f"sqlite:///{tmp_path / 'jobs.sqlite3'}") as opened:
        yield opened


async def loaded(store: Store, overrides: Mapping[str, dict[str, Any]]) -> Cameras:
    for camera_id, override in overrides.items():
        await store.set_camera_override(camera_id, override)
    cameras = Cameras(Settings(cameras=FILE), store, Announcer())
    await cameras.load()
    return cameras


async def test_load_overlays_the_file(store: Store) -> None:
    cameras = await loaded(store, {"front": {"cooldown": 9}})
    assert (cameras.get("front").cooldown, cameras.get("back").cooldown) == (9, 7)


@pytest.mark.parametrize(
    "override", [{"cooldown": "soon"}, {"no_such_setting": 1}, {"length": "huge"}]
)
async def test_load_ignores_an_override_that_does_not_hold(
    store: Store, override: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    cameras = await loaded(store, {"front": override, "back": {"cooldown": 9}})
    assert (cameras.get("front").cooldown, cameras.get("back").cooldown) == (5, 9)
    assert "cameras.front" in caplog.text
    await cameras.change("front", {"cooldown": 3})  # and it can be mended
    assert (await store.camera_overrides())["front"] == {"cooldown": 3}


async def test_load_ignores_a_camera_that_breaks(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    url = {"webhook_url": "http://192.168.1.5/"}
    cameras = await loaded(store, {"breaks": url, "back": {"cooldown": 9}})
    assert cameras.get("back").cooldown == 9
    assert any(record.exc_info for record in caplog.records)
    assert cameras.webhook("back") == (None, True)
    with pytest.raises(RuntimeError):
        cameras.get("breaks")
    # Its URL came over MQTT: the operator's trust is not for it, come what may.
    assert cameras.webhook("breaks") == (None, True)


async def test_change_refuses_what_does_not_hold(store: Store) -> None:
    cameras = await loaded(store, {})
    with pytest.raises(ConfigurationError, match=r"cameras\.front\.cooldown"):
        await cameras.change("front", {"cooldown": "soon"})
    assert await store.camera_overrides() == {}
