"""What the service shows of itself and can change while it runs: its GPUs, and its models."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from engine.protocol import ModelOptions
from schemas.status import Gpu
from service.boundary import contained
from service.engines.catalogue import available
from service.homeassistant.wanted import WantedDevices
from service.settings import ModelSettings

_LOOK_EVERY_S = 600.0
_NOTICE_S = 2.0  # how late a model that was loaded by request is noticed


class Models(Protocol):
    """Which model the engines have; see `service.engines.models`."""

    @property
    def chosen(self) -> ModelOptions:
        """The present one."""


class FactsWatch:
    """Looks at GPUs and models, and tells when they have changed.

    Args:
        wanted: Gets the facts.
        models: The present model.
        settings: Where others may be.
        read_gpus: GPU readings.
        on_change: Told when the facts are others.
    """

    def __init__(
        self,
        wanted: WantedDevices,
        models: Models,
        settings: ModelSettings,
        read_gpus: Callable[[], Sequence[Gpu]],
        on_change: Callable[[], None],
    ) -> None:
        self._wanted = wanted
        self._models = models
        self._settings = settings
        self._read_gpus = read_gpus
        self._on_change = on_change
        self._gpus: dict[int, str] = {}  # one that gives no answer now is there all the same

    async def look(self) -> None:
        """Look once."""
        facts = self._wanted.facts
        with contained("GPUs cannot be read"):
            self._gpus |= {each.id: each.name for each in self._read_gpus()}
            numbers = range(max(self._gpus, default=-1) + 1)
            facts = replace(facts, gpus=tuple(self._gpus.get(each, "") for each in numbers))
        with contained("models cannot be listed"):
            facts = replace(facts, models=await self._list())
        if facts != self._wanted.facts:
            self._wanted.facts = facts
            self._on_change()

    async def run(self) -> None:
        """Look for ever: now and then, and when another model has been loaded."""
        while True:
            await self.look()
            present = self._models.chosen
            for _ in range(round(_LOOK_EVERY_S / _NOTICE_S)):
                await asyncio.sleep(_NOTICE_S)
                if self._models.chosen != present:
                    break

    async def _list(self) -> tuple[str, ...]:
        """The present model first; the list is cut where it is long."""
        found = await asyncio.to_thread(available, self._settings)
        others = sorted({each.model for each in found})
        return tuple(dict.fromkeys([self._models.chosen.name, *others]))
