"""`/v1/models/switch` and `/v1/system/unload`: the orders of `model/load` and `model/unload`."""

from typing import Any, cast

from fastapi import APIRouter, Request, Response

from gateway.access import TheBackend, TheOptions
from gateway.backend import Backend
from gateway.chat.model import model_info, plain_name
from gateway.objects import read_object
from gateway.problems import Problem
from schemas.requests.models import Ordered

router = APIRouter(prefix="/v1", include_in_schema=False)

_LOAD_FIELDS = ("model", "revision", "dtype", "quantization")


@router.post("/models/switch")
async def switch(
    request: Request, backend: TheBackend, options: TheOptions, response: Response
) -> dict[str, Any]:
    """Load another model; 202 while it goes on, which `/model/info` tells the end of."""
    said = await read_object(request, options)
    if not isinstance(said.get("model"), str):
        raise Problem("bad_field", "model: is required", param="model")
    fields = {name: said[name] for name in _LOAD_FIELDS if said.get(name) is not None}
    if plain_name((await model_info(backend)).model.name) == fields["model"]:
        del fields["model"]  # a folder goes by its own name outside
    ordered = cast("Ordered", await backend.call("model/load", fields))
    if ordered.state == "accepted":
        response.status_code = 202
    return {**await _memory(backend), **_told(ordered), "model": plain_name(ordered.model.name)}


@router.post("/system/unload")
async def unload(backend: TheBackend, response: Response) -> dict[str, Any]:
    """Free the device; the next picture loads the model again."""
    ordered = cast("Ordered", await backend.call("model/unload", {}))
    if ordered.state == "accepted":
        response.status_code = 202
    return _told(ordered)


def _told(ordered: Ordered) -> dict[str, Any]:
    if ordered.state == "accepted":
        message = "it goes on once the running jobs have ended; /model/info tells how it stands"
    else:
        message = f"{plain_name(ordered.model.name)} is {ordered.state}"
    return {"status": "success", "message": message, "state": ordered.state}


async def _memory(backend: Backend) -> dict[str, float]:
    """What the models take, in MiB."""
    loaded = (await model_info(backend)).loaded_models
    return {
        "vram_mb": sum(each.vram_mb for each in loaded),
        "ram_mb": sum(each.ram_mb for each in loaded),
    }
