"""Requests about the model in the engines."""

from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, Field

from schemas.job import ErrorDetail
from schemas.requests.envelope import Answer, Nothing, Request
from schemas.requests.operation import Operation
from schemas.status import LoadedModel, ModelStatus

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Quantization = Literal["auto", "none", "int8", "int4"]


def _goes_nowhere(revision: str) -> str:
    if ".." in revision:
        raise ValueError("must not contain ..")
    return revision


#: Tag, branch or commit on the hub.
Revision = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,254}$"),
    AfterValidator(_goes_nowhere),
]


class LoadRequest(Request):
    """Which model; what is not said stays as it is."""

    model: str | None = Field(
        default=None, min_length=1, max_length=2048, description="one of `model/list`"
    )
    revision: Revision | None = Field(
        default=None, description="needed where several of the model are there"
    )
    dtype: Dtype | None = None
    quantization: Quantization | None = None


class ModelSwitch(Answer):
    """What became of the newest `model/load`."""

    model: str
    revision: str
    dtype: Dtype
    quantization: Quantization
    state: Literal["loading", "loaded", "returning", "failed"] = Field(
        description="`returning`: it failed, and the former model is being loaded again"
    )
    error: ErrorDetail | None = None
    started_at: AwareDatetime


class ModelInfo(Answer):
    """The engines' model."""

    model: ModelStatus = Field(description="as on `bridge/info`: the least ready engine speaks")
    engines: tuple[ModelStatus, ...]
    loaded_models: tuple[LoadedModel, ...] = Field(description="in memory, one for each engine")
    switch: ModelSwitch | None = Field(default=None, description="the newest `model/load`")


class Ordered(Answer):
    """What became of an order so far."""

    state: Literal["loaded", "unloaded", "accepted"] = Field(
        description="`accepted`: it goes on, ask `ask_next` for its end"
    )
    ask_next: str | None = None
    model: ModelStatus


class AvailableModel(Answer):
    """A model that can be loaded without a download."""

    model: str
    revision: str = Field(description="`local`: of a folder")
    num_bytes: int
    is_loaded: bool


class ModelList(Answer):
    """The models on this machine."""

    count: int
    items: tuple[AvailableModel, ...]
    has_more: bool = Field(description="there are more than are looked through")


MODEL_INFO = Operation(
    "model/info", Nothing, ModelInfo, "The model in the engines, and what is happening to it."
)
MODEL_LIST = Operation(
    "model/list",
    Nothing,
    ModelList,
    "The models that can be loaded: those in the Hugging Face cache, and those in `model.folders`.",
)
MODEL_LOAD = Operation(
    "model/load",
    LoadRequest,
    Ordered,
    "Load a model once the running jobs have ended, on all engines; when it cannot be loaded, the "
    "former one again. Holds until the service ends.",
    {"model": "vikhyatk/moondream2", "revision": "2025-01-09"},
)
MODEL_UNLOAD = Operation(
    "model/unload",
    Nothing,
    Ordered,
    "Free the devices once the running jobs have ended; the next job loads the model again.",
)

MODELS = (MODEL_INFO, MODEL_LIST, MODEL_LOAD, MODEL_UNLOAD)
