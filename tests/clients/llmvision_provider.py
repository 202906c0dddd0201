"""LLM Vision's own provider class, asked once.

Run in the environment of `make test-clients`: `python llmvision_provider.py SOURCE < job`. The job
is JSON: `{"provider", "config", "ask": "validate|vision|title", "images": [base64 …], "names": […],
"message", "structure"}`; what it makes of the answer is printed as JSON. Home Assistant and AWS,
which it imports, are played.
"""

import asyncio
import importlib.machinery
import json
import sys
import types
from pathlib import Path
from typing import Any

import aiohttp

SOURCE = Path(sys.argv[1])
ENTRY = "entry"


class ServiceValidationError(Exception):
    """What Home Assistant shows to a user."""


class HomeAssistant:
    """Has the settings of one entry, and a session."""

    def __init__(self, config: dict[str, Any], session: aiohttp.ClientSession) -> None:
        self.data = {"llmvision": {ENTRY: config}}
        self.session = session


def module(name: str, **content: Any) -> types.ModuleType:
    made = types.ModuleType(name)
    made.__path__ = []
    made.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
    vars(made).update(content)
    sys.modules[name] = made
    return made


def install() -> Any:
    """The module of the providers, without the integration around it."""
    module("boto3")
    module("homeassistant")
    module("homeassistant.exceptions", ServiceValidationError=ServiceValidationError)
    module("homeassistant.core", HomeAssistant=HomeAssistant)
    module("homeassistant.helpers")
    module(
        "homeassistant.helpers.aiohttp_client",
        async_get_clientsession=lambda hass: hass.session,
    )
    package = module("llmvision")
    package.__path__ = [str(SOURCE / "custom_components" / "llmvision")]
    return importlib.import_module("llmvision.providers")


class Call:
    """A call of its action `image_analyzer`."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.provider = ENTRY
        self.message = job.get("message", "")
        self.base64_images = job.get("images", [])
        self.filenames = job.get("names") or [""] * len(self.base64_images)
        self.max_tokens = 3000
        self.structure = job.get("structure")
        self.response_format = "json" if self.structure else "text"
        self.use_memory = False

    def model_is_glimpse(self) -> bool:
        return False


async def ask(job: dict[str, Any]) -> Any:
    providers = install()
    async with aiohttp.ClientSession() as session:
        hass = HomeAssistant({"provider": job["provider"], **job["config"]}, session)
        made = providers.ProviderFactory.create(hass, job["provider"], job["config"], "moondream2")
        if job["ask"] == "validate":
            return await made.validate()
        if job["ask"] == "title":
            return await made.title_request(Call(job))
        return await made.vision_request(Call(job))


def main() -> None:
    job = json.load(sys.stdin)
    try:
        said = {"said": asyncio.run(ask(job))}
    except ServiceValidationError as error:
        said = {"refused": str(error)}
    sys.stdout.write(json.dumps(said))


main()
