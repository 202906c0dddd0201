"""What the model is called: its hub id; of a folder only its own name, never the path to it."""

import re
from typing import cast

from gateway.backend import Backend
from schemas.requests.models import ModelInfo

_FOLDER = re.compile(r"[/.~]|[A-Za-z]:[/\\]")


def id_of(name: str) -> str:
    """`vikhyatk/moondream2`, or `model` of `/home/me/model`."""
    if _FOLDER.match(name):
        name = re.split(r"[/\\]", name.rstrip("/\\"))[-1]
    return name or "model"


async def model_info(backend: Backend) -> ModelInfo:
    """The model that answers now."""
    return cast("ModelInfo", await backend.call("model/info", {}))
