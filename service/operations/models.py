"""Requests about the model: which there are, which is loaded, load another one, free the device.

What a request names is looked up in what is on this machine; it never becomes a path, and nothing
is downloaded for it unless `model.allow_download` says so.
"""

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from engine.protocol import ModelOptions
from schemas.requests.envelope import Nothing
from schemas.requests.models import (
    MODEL_INFO,
    MODEL_LIST,
    MODEL_LOAD,
    MODEL_UNLOAD,
    AvailableModel,
    LoadRequest,
    ModelInfo,
    ModelList,
    ModelSwitch,
    Ordered,
)
from schemas.requests.operation import Bound
from service.engines.catalogue import LOCAL, Available, available, is_hub_id
from service.engines.models import Models, Switch
from service.engines.view import EnginesView, MonitoredEngine
from service.operations.operations import OperationError
from service.settings import ModelSettings

_MOST_LISTED = 200
_PATIENCE_S = 8.0  # then the answer is `accepted`; every answer comes within ten


class ModelOperations:
    """Answers requests about the model.

    Args:
        models: Carries orders out.
        engines: What is loaded.
        settings: What may be loaded.
        patience_s: How long an answer waits for the end of what was ordered.
    """

    def __init__(
        self,
        models: Models,
        engines: Sequence[MonitoredEngine],
        settings: ModelSettings,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        self._models = models
        self._engines = engines
        self._view = EnginesView(engines)
        self._settings = settings
        self._patience_s = patience_s

    def bound(self) -> Sequence[Bound]:
        """What can be asked for here."""
        return (
            MODEL_INFO.bind(self.info),
            MODEL_LIST.bind(self.list),
            MODEL_LOAD.bind(self.load),
            MODEL_UNLOAD.bind(self.unload),
        )

    async def info(self, _: Nothing) -> ModelInfo:
        """The engines' model."""
        switch = self._models.switch
        return ModelInfo(
            model=self._view.model(),
            engines=tuple(engine.state for engine in self._engines),
            loaded_models=self._view.loaded,
            switch=None if switch is None else _described(switch),
        )

    async def list(self, _: Nothing) -> ModelList:
        """What is on this machine."""
        found = await self._available()
        loaded = {each.id for each in self._view.loaded}
        items = tuple(
            AvailableModel(
                model=each.model,
                revision=each.revision,
                num_bytes=each.num_bytes,
                is_loaded=f"{each.model}@{each.revision}" in loaded,
            )
            for each in found[:_MOST_LISTED]
        )
        return ModelList(count=len(items), items=items, has_more=len(found) > len(items))

    async def load(self, request: LoadRequest) -> Ordered:
        """Load a model; a later one takes its place."""
        wanted = await self._choose(request)

        def change(has: ModelOptions) -> ModelOptions:
            return replace(
                has,
                name=wanted.name,
                revision=wanted.revision,
                dtype=wanted.dtype,
                quantization=wanted.quantization,
                download=wanted.download,
            )

        switch = self._models.load(change)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience_s):
                await switch.is_decided.wait()
        if switch.error is not None:
            former = self._models.chosen
            raise OperationError(
                "model_failed",
                f"{wanted.name} {wanted.revision} is not loaded: {switch.error.message}; the last "
                f"that worked is {former.name} {former.revision}",
            )
        return self._ordered("loaded" if switch.state == "loaded" else "accepted")

    async def unload(self, _: Nothing) -> Ordered:
        """Free the devices."""
        done, _pending = await asyncio.wait({self._models.unload()}, timeout=self._patience_s)
        return self._ordered("unloaded" if done else "accepted")

    def _ordered(self, state: str) -> Ordered:
        ask_next = "model/info" if state == "accepted" else None
        return Ordered.model_validate(
            {"state": state, "ask_next": ask_next, "model": self._view.model()}
        )

    async def _available(self) -> Sequence[Available]:
        return await asyncio.to_thread(available, self._settings)

    async def _choose(self, request: LoadRequest) -> ModelOptions:
        """What is meant, if it may be loaded.

        Raises:
            OperationError: `not_found` or `bad_request`.
        """
        settings = self._settings
        has = replace(
            self._models.chosen,
            dtype=request.dtype or self._models.chosen.dtype,
            quantization=request.quantization or self._models.chosen.quantization,
        )
        name = request.model or has.name
        for known in (has, replace(has, name=settings.name, revision=settings.revision)):
            if name == known.name and request.revision in {None, known.revision}:
                is_own = (name, known.revision) == (settings.name, settings.revision)
                download = is_own or known.download
                return replace(known, download=download)
        found = [each for each in await self._available() if each.model == name]
        revision = _revision(request, found) or self._downloaded(name, request.revision)
        return replace(has, name=name, revision=revision, download=settings.allow_download)

    def _downloaded(self, name: str, revision: str | None) -> str:
        """The revision of a model that is not here.

        Raises:
            OperationError: It may not be fetched.
        """
        shown = f"model: {name[:100]!r}" + (f" {revision}" if revision else "")
        if not is_hub_id(name):
            raise OperationError(
                "not_found", f"{shown} is no id like owner/name, and in none of model.folders"
            )
        if not self._settings.allow_download:
            raise OperationError(
                "not_found",
                f"{shown} is not on this machine (see model/list), and model.allow_download is off",
            )
        if os.path.isdir(name):  # the engine would take it for the folder
            raise OperationError("bad_request", f"{shown} is the name of a folder here as well")
        if revision is None:
            raise OperationError("bad_request", "revision: is needed for what is downloaded")
        return revision


def _revision(request: LoadRequest, found: Sequence[Available]) -> str | None:
    """The one that is meant; None when it is not here.

    Raises:
        OperationError: `bad_request`: there are several.
    """
    revisions = [each.revision for each in found]
    if revisions == [LOCAL]:  # a folder has one, and this says which release it holds
        return request.revision or LOCAL
    if request.revision is not None:
        return request.revision if request.revision in revisions else None
    if len(revisions) > 1:
        listed = ", ".join(revisions[:10])
        raise OperationError("bad_request", f"revision: one of {listed} has to be said")
    return revisions[0] if revisions else None


def _described(switch: Switch) -> ModelSwitch:
    options = switch.options[0]
    return ModelSwitch.model_validate(
        {
            "model": options.name,
            "revision": options.revision,
            "dtype": options.dtype,
            "quantization": options.quantization,
            "state": switch.state,
            "error": switch.error,
            "started_at": switch.started_at,
        }
    )
