"""Orders about the model, to a whole service whose engine has none but knows its name."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio

from broker.embedded import EmbeddedBroker
from service.settings import Settings
from tests.integration.test_requests import Asking
from tests.integration.test_requests_skills import asked, until_reached
from tests.support.conversation import json_frame
from tests.support.factories import make_image
from tests.support.quick_service import serving
from tests.unit.service.engines.test_catalogue import OTHER, make_cached

pytestmark = pytest.mark.asyncio(loop_scope="module")

BASE = "home/models"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def talk(
    mosquitto: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Asking]:
    folder = tmp_path_factory.mktemp("models")
    for each in ("scratch", "cache", "own"):
        (folder / each).mkdir()
    make_cached(folder / "cache", "models--acme--eye", refs=("2025-06-21",))
    make_cached(folder / "cache", "models--acme--eye", OTHER)
    make_cached(folder / "cache", "models--acme--broken", refs=("main",))
    settings = Settings(
        mqtt={"port": mosquitto.port, "base_topic": BASE},
        data_dir=folder / "data",
        model={"name": "acme/first", "folders": [folder / "cache/models--acme--eye/snapshots"]},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_CACHE", str(folder / "cache"))
        async with (
            Asking(mosquitto.port, BASE) as talk,
            serving(settings, folder / "scratch"),
        ):
            await until_reached(talk)
            yield talk


def num_children() -> int:
    """Engines of this process."""
    lines = [each.cmdline() for each in psutil.Process().children()]
    return sum("tests.support.quick_engine" in line for line in lines)


async def test_info_is_the_model_of_the_settings_until_another_is_loaded(talk: Asking) -> None:
    data = await talk.data("model/info")
    assert (data["model"]["name"], data["model"]["state"]) == ("acme/first", "ready")
    assert [each["id"] for each in data["loaded_models"]] == ["acme/first@2025-06-21"]
    assert data["switch"] is None


async def test_list_names_what_is_in_the_cache_and_in_the_folders(talk: Asking) -> None:
    data = await talk.data("model/list")
    found = [(each["model"], each["revision"], each["num_bytes"]) for each in data["items"]]
    assert found[:3] == [
        ("acme/broken", "main", 102),
        ("acme/eye", "2025-06-21", 102),
        ("acme/eye", OTHER, 102),
    ]
    assert {revision for _, revision, _ in found[3:]} == {"local"}
    assert (data["count"], data["has_more"]) == (5, False)


@pytest.mark.parametrize(
    ("request_", "code", "named"),
    [
        ({"model": "acme/absent", "revision": "main"}, "not_found", "model.allow_download"),
        ({"model": "acme/eye", "revision": "main"}, "not_found", "model.allow_download"),
        ({"model": "acme/eye"}, "bad_request", "2025-06-21"),
        ({"model": "../../etc"}, "not_found", "model.folders"),
        ({"model": "/etc"}, "not_found", "model.folders"),
        ({"model": "~/models"}, "not_found", "model.folders"),
        ({"model": "\ud800"}, "bad_request", "model"),
        ({"model": ""}, "bad_request", "model"),
        ({"model": 5}, "bad_request", "model"),
        ({"model": {"name": "acme/eye"}}, "bad_request", "model"),
        ({"model": "acme/eye", "revision": "../x"}, "bad_request", "revision"),
        ({"model": "acme/eye", "revision": "a/../../x"}, "bad_request", "revision"),
        ({"dtype": "int4"}, "bad_request", "dtype"),
        ({"trust_remote_code": True}, "bad_request", "trust_remote_code"),
    ],
)
async def test_model_that_may_not_be_loaded_is_an_error_that_names_the_field_or_setting(
    talk: Asking, request_: dict[str, Any], code: str, named: str
) -> None:
    answer = await talk.ask("model/load", request_)
    assert (answer["status"], answer["error"]["code"]) == ("error", code), answer
    assert named in answer["error"]["message"]


async def test_load_switches_and_captions_name_the_new_model(talk: Asking) -> None:
    request = {"model": "acme/eye", "revision": "2025-06-21", "dtype": "float32"}
    data = await talk.data("model/load", request)
    assert (data["state"], data["ask_next"]) == ("loaded", None)
    assert data["model"]["name"] == "acme/eye"
    data = await talk.data("model/info")
    assert data["switch"].items() >= {**request, "state": "loaded", "error": None}.items()
    result = (await talk.data("caption", asked(1)))["result"]
    assert result["model_info"]["model"] == "acme/eye"
    listed = (await talk.data("model/list"))["items"]
    assert [each["revision"] for each in listed if each["is_loaded"]] == ["2025-06-21"]


async def test_load_that_fails_says_why_and_what_stays(talk: Asking) -> None:
    before = (await talk.data("model/info"))["model"]["name"]
    answer = await talk.ask("model/load", {"model": "acme/broken"})
    assert answer["error"]["code"] == "model_failed"
    assert "damaged" in answer["error"]["message"]
    assert before in answer["error"]["message"]
    result = (await talk.data("caption", asked(2)))["result"]  # accepted meanwhile
    assert result["model_info"]["model"] == before
    switch = (await talk.data("model/info"))["switch"]
    assert (switch["model"], switch["state"], switch["error"]["code"]) == (
        "acme/broken",
        "failed",
        "model_file",
    )


async def test_unload_frees_the_device_and_the_next_frame_loads_again(talk: Asking) -> None:
    assert num_children() == 1
    data = await talk.data("model/unload")
    assert (data["state"], data["model"]["state"]) == ("unloaded", "unloaded")
    assert num_children() == 0
    assert (await talk.data("queue/stats"))["system_status"] == "unloaded"
    assert (await talk.data("health"))["checks"]["engine"]["status"] == "healthy"
    result = (await talk.data("caption", asked(3)))["result"]
    assert result["caption"]
    assert num_children() == 1


async def test_model_without_a_frame_for_a_while_is_unloaded_until_the_next(
    mosquitto: EmbeddedBroker, tmp_path: Path
) -> None:
    base = f"{BASE}/idle"
    settings = Settings(
        mqtt={"port": mosquitto.port, "base_topic": base},
        data_dir=tmp_path / "data",
        model={"name": "acme/first", "unload_after": 1.0},
        stats_interval=0.2,
    )
    async with Asking(mosquitto.port, base) as talk, serving(settings, tmp_path):
        await until_reached(talk)
        for number in range(2):
            await talk.wait_for("bridge/stats", system_status="unloaded")
            job_id = f"job-{number}"
            await talk.send("front", json_frame(make_image(90 + number), job_id=job_id))
            queued = await talk.wait_for("front/status", job_id=job_id, status="queued")
            assert queued.json["message"].startswith("Waiting for the model to load")
            await talk.wait_for("front/status", job_id=job_id, status="completed")
            talk.heard.clear()
