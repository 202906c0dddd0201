"""The model that answers, and what other systems' clients know it as."""

import re
from typing import cast

from gateway.backend import Backend
from schemas.requests.models import ModelInfo

_FOLDER = re.compile(r"[/.~]|[A-Za-z]:[/\\]")


def plain_name(model: str) -> str:
    """A hub id as it is; of a folder only its own name, never the path to it."""
    name = model.rstrip("/\\")
    if _FOLDER.match(model):
        name = re.split(r"[/\\]", name)[-1]
    return name.replace(" ", "-") or "model"


async def model_info(backend: Backend) -> ModelInfo:
    """The model that answers now."""
    return cast("ModelInfo", await backend.call("model/info", {}))
