"""`/api/tags`, `show`, `ps`, `version`, `pull`: the one model that is there, as Ollama lists many.

Any name is answered with this model: clients keep the name that was chosen when they were set up.
What would change the list of models is refused.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from gateway.access import TheBackend, TheOptions
from gateway.chat.model import model_info
from gateway.chat.tokens import CONTEXT_TOKENS
from gateway.objects import read_object
from gateway.ollama.answers import NDJSON
from gateway.ollama.naming import digest_of, is_meant, name_of
from gateway.problems import Problem
from schemas.requests.models import ModelInfo
from schemas.status import ModelStatus

#: Of Ollama's interface, which clients compare; ours is in `/health` and `bridge/info`.
API_VERSION = "0.12.6"
_FAMILY = "moondream2"
_MIB = 1 << 20
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: What Ollama says of a model that is kept for ever: here they all are.
_NEVER = "2318-01-01T00:00:00Z"

router = APIRouter(prefix="/api", include_in_schema=False)


@router.get("/version")
async def version() -> dict[str, str]:
    """Which of Ollama's interfaces this is like."""
    return {"version": API_VERSION}


@router.get("/tags")
async def tags(backend: TheBackend) -> dict[str, Any]:
    """The models that can be asked: one."""
    return {"models": [_listed(await model_info(backend))]}


@router.get("/ps")
async def running(backend: TheBackend) -> dict[str, Any]:
    """The models in memory."""
    info = await model_info(backend)
    if not info.loaded_models:
        return {"models": []}
    listed = _listed(info)
    del listed["modified_at"]
    vram = sum(each.vram_mb for each in info.loaded_models)
    beside = {
        "expires_at": _NEVER,
        "size_vram": round(vram * _MIB),
        "context_length": CONTEXT_TOKENS,
    }
    return {"models": [{**listed, **beside}]}


@router.post("/show")
async def show(backend: TheBackend) -> dict[str, Any]:
    """What the model is and can do."""
    info = await model_info(backend)
    listed = _listed(info)
    return {
        "modelfile": f"# {listed['model']}",
        "parameters": "temperature 0",
        "template": "{{ .Prompt }}",
        "modified_at": listed["modified_at"],
        "details": listed["details"],
        "model_info": {
            "general.architecture": _FAMILY,
            "general.basename": listed["model"].partition(":")[0],
            f"{_FAMILY}.context_length": CONTEXT_TOKENS,
        },
        "capabilities": ["completion", "vision"],
    }


@router.post("/pull")
async def pull(request: Request, backend: TheBackend, options: TheOptions) -> Response:
    """Nothing is downloaded: our own model is there, and others are refused."""
    said = await read_object(request, options)
    asked = said.get("model") or said.get("name")
    if not isinstance(asked, str):
        raise Problem("bad_field", "model is required")
    ours = (await model_info(backend)).model
    name = name_of(ours.name, ours.revision)
    if not is_meant(asked, name):
        raise Problem("not_implemented", f"this server has {name} only and pulls no other model")
    if said.get("stream") is False:
        return JSONResponse({"status": "success"})
    return StreamingResponse(_lines("pulling manifest", "success"), 200, None, NDJSON)


@router.post("/create")
@router.post("/copy")
@router.post("/push")
@router.delete("/delete")
async def change(request: Request) -> Response:
    """The model of the service is chosen in its settings."""
    name = request.url.path.rpartition("/")[2]
    raise Problem("not_implemented", f"{name}: the model is chosen in the settings of the service")


@router.post("/embed")
@router.post("/embeddings")
async def embed() -> Response:
    """What this model cannot do."""
    raise Problem("not_implemented", "this model makes no embeddings")


def _lines(*statuses: str) -> Iterator[str]:
    for status in statuses:
        yield json.dumps({"status": status}) + "\n"


def _listed(info: ModelInfo) -> dict[str, Any]:
    """The model as in a list; its size is what it takes in memory, 0 while it is not loaded."""
    name = name_of(info.model.name, info.model.revision)
    loaded = info.loaded_models
    num_mib = sum(each.vram_mb + each.ram_mb for each in loaded)
    since = max((each.loaded_at for each in loaded), default=_EPOCH)
    return {
        "name": name,
        "model": name,
        "modified_at": since.isoformat(),
        "size": round(num_mib * _MIB),
        "digest": digest_of(name),
        "details": _details(info.model),
    }


def _details(model: ModelStatus) -> dict[str, Any]:
    quantized = model.quantization not in (None, "none")
    return {
        "parent_model": "",
        "format": "safetensors",
        "family": _FAMILY,
        "families": [_FAMILY],
        "parameter_size": "",
        "quantization_level": (model.quantization if quantized else model.dtype) or "",
    }
