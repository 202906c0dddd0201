"""`GET /v1/models`: the one model, in the form of OpenAI and of Moondream Station at once."""

from typing import Any

from fastapi import APIRouter, Response

from gateway.access import TheBackend
from gateway.chat.model import model_info, plain_name
from gateway.chat.tokens import CONTEXT_TOKENS
from gateway.problems import Problem
from schemas.requests.models import ModelInfo

router = APIRouter(tags=["OpenAI"])

_MIB = 1 << 20


@router.get("/v1/models")
@router.get("/models", include_in_schema=False)
async def models(backend: TheBackend, response: Response) -> dict[str, Any]:
    """The model that answers, whatever another is asked for by name."""
    entry = _entry(await model_info(backend))
    response.headers.update(await _memory(backend))
    return {"object": "list", "data": [entry], "models": [entry]}


@router.get("/v1/models/{model_id:path}")
@router.get("/models/{model_id:path}", include_in_schema=False)
async def model(model_id: str, backend: TheBackend) -> dict[str, Any]:
    """The same of one model, by its id or by the last part of it."""
    entry = _entry(await model_info(backend))
    name: str = entry["id"]
    if model_id.lower() not in {name.lower(), name.lower().rpartition("/")[2]}:
        raise Problem("not_found", f"the model here is {name}", param="model")
    return entry


def _entry(info: ModelInfo) -> dict[str, Any]:
    name = plain_name(info.model.name)
    loaded_at = [int(each.loaded_at.timestamp()) for each in info.loaded_models]
    return {
        "id": name,
        "object": "model",
        "created": min(loaded_at, default=0),
        "owned_by": "moondream2mqtt",
        "max_model_len": CONTEXT_TOKENS,
        "name": name,
        "description": "Answers about pictures",
        "version": info.model.revision,
        "type": "vision",
        "state": info.model.state,
    }


async def _memory(backend: TheBackend) -> dict[str, str]:
    """Of all GPUs in MB, as a gallery reads it; nothing where there is none."""
    gpus = (await backend.readings()).metrics.gpus
    if not gpus:
        return {}
    used, total = sum(gpu.memory.used for gpu in gpus), sum(gpu.memory.total for gpu in gpus)
    return {"X-VRAM-Used": str(round(used / _MIB)), "X-VRAM-Total": str(round(total / _MIB))}
