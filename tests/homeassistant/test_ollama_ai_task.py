"""Home Assistant's own integration for Ollama in front of the gateway: AI Task with pictures."""

import io
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from broker.embedded import EmbeddedBroker
from demo.camera import default_cameras, story
from tests.homeassistant.core import Core, CoreError
from tests.homeassistant.environments import Version
from tests.support.gateway import gateway

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]

_OLDEST = (2025, 8)  # AI Task takes attachments from there on
_TASK = "ai_task.look"
_PICTURE = {"media_content_id": "media-source://media_source/local/door.jpg"}
_ATTACHED = [{**_PICTURE, "media_content_type": "image/jpeg"}]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def core(
    version: Version, mosquitto: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Core]:
    """A Home Assistant that has the gateway as its Ollama."""
    if not version.is_installed:
        pytest.skip(f"Home Assistant {version.number} needs Python {version.python}")
    if tuple(int(part) for part in version.number.split(".")[:2]) < _OLDEST:
        pytest.skip(f"AI Task with pictures needs Home Assistant 2025.8, this is {version.number}")
    folder = tmp_path_factory.mktemp("ollama")
    async with (
        gateway(mosquitto, folder / "service", "http/home", with_model=True) as service,
        Core(version, folder / "core", mosquitto.port) as core,
    ):
        (core.directory / "media" / "door.jpg").write_bytes(_picture())
        entry_id = await core.set_up("ollama", url=service.url)
        [name] = [
            each["model"] for each in (await service.client.get("/api/tags")).json()["models"]
        ]
        choices = await core.add_subentry(
            entry_id, "ai_task_data", "model", name="Look", model=name
        )
        assert {"label": f"{name} (downloaded)", "value": name} in choices
        await core.until(f"states[{_TASK!r}] is not none")
        await core.take_log()
        # Its camera integration misses a library of the system, which nothing here needs.
        assert [each for each in core.complaints if "libturbojpeg" not in each] == []
        yield core


@pytest_asyncio.fixture(autouse=True, loop_scope="session")
async def silence(core: Core) -> AsyncIterator[None]:
    """A test fails in which Home Assistant's integrations complain about anything."""
    core.complaints.clear()
    yield
    await core.take_log()
    assert core.complaints == []


async def test_a_picture_is_described(core: Core) -> None:
    data = await _generate(core, "Describe this image.")

    assert isinstance(data, str)
    assert len(data) > 20


async def test_a_structure_is_filled(core: Core) -> None:
    structure = {
        "count_people": {
            "description": "How many people are there?",
            "required": True,
            "selector": {"number": {"min": 0, "max": 10}},
        },
        "is_day": {
            "description": "Is it day?",
            "required": True,
            "selector": {"boolean": {}},
        },
        "weather": {
            "description": "What is the weather?",
            "required": True,
            "selector": {"select": {"options": ["sunny", "rainy", "snowy"]}},
        },
        "scene": {"description": "What is going on?", "selector": {"text": {}}},
    }

    data = await _generate(core, "Look at the front door.", structure=structure)

    assert 1 <= data["count_people"] <= 10
    assert isinstance(data["is_day"], bool)
    assert data["weather"] in {"sunny", "rainy", "snowy"}
    assert isinstance(data["scene"], str)


async def test_a_task_without_a_picture_is_answered(core: Core) -> None:
    said = await core.ask(
        "ai_task.generate_data", entity_id=_TASK, task_name="hello", instructions="Say hello."
    )

    assert isinstance(said["data"], str)
    assert said["data"]


async def test_a_broken_picture_is_an_error(core: Core) -> None:
    (core.directory / "media" / "door.jpg").write_bytes(b"no picture")
    try:
        with pytest.raises(CoreError, match="not of a JPEG, PNG or WebP"):
            await _generate(core, "Describe this image.")
    finally:
        (core.directory / "media" / "door.jpg").write_bytes(_picture())


async def _generate(core: Core, instructions: str, **beside: Any) -> Any:
    answer = await core.ask(
        "ai_task.generate_data",
        entity_id=_TASK,
        task_name="look",
        instructions=instructions,
        attachments=_ATTACHED,
        **beside,
    )
    return answer["data"]


def _picture() -> bytes:
    """With a person."""
    front_door, *_ = default_cameras()
    *_, image = (frame.image for _, frame in zip(range(4), story(front_door, 1000), strict=False))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95)
    return file.getvalue()
