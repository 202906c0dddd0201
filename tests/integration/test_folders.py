"""Pictures and clips in folders, with a whole service and a real broker."""

import asyncio
from pathlib import Path

from bench._clips import make_clip
from broker.embedded import EmbeddedBroker
from service.settings import Settings
from tests.integration.test_requests import Asking
from tests.support.checker import until
from tests.support.factories import make_image
from tests.support.quick_service import serving

BASE = "home/folders"


async def test_photo_and_clip_become_captions(mosquitto: EmbeddedBroker, tmp_path: Path) -> None:
    folder = tmp_path / "ftp"
    (folder / "door").mkdir(parents=True)
    settings = Settings(
        mqtt={"port": mosquitto.port, "base_topic": BASE},
        data_dir=tmp_path / "data",
        stats_interval=0.3,
        folders=[{"path": str(folder), "after": "move:done", "frames": 2}],
    )
    async with Asking(mosquitto.port, BASE) as talk, serving(settings, tmp_path / "scratch"):
        (folder / "door" / "photo.jpg").write_bytes(make_image(1))
        (folder / "door" / "text.jpg").write_bytes(b"no picture")
        clip = await asyncio.to_thread(make_clip, tmp_path / "Door_00_20240605152917.mp4")
        clip.rename(folder / "door" / clip.name)
        rejected = await talk.wait_for("door/status", status="rejected")
        assert rejected.json["error"]["code"] == "not_an_image"

        def completed() -> list[str]:
            said = [each.json for each in talk.said("door/status")]
            return [each["job_id"] for each in said if each["status"] == "completed"]

        await until(lambda: len(set(completed())) == 3, timeout_s=30)
        await until(lambda: not (folder / "door" / clip.name).exists())
        assert sorted(each.name for each in (folder / "done" / "door").iterdir()) == [
            clip.name,
            "photo.jpg",
        ]
        assert (folder / "door" / "text.jpg").exists()
        await talk.wait_for("bridge/health")
        assert talk.said("bridge/health")[-1].json["checks"]["folders"]["status"] == "healthy"
