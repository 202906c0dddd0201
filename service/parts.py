"""The parts that touch the world, as makers: where a test puts its faults between."""

from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from broker.connection import Connection
from broker.options import ConnectionOptions, Subscription
from broker.state import ConnectionState
from engine.images import ImageLimits
from engine.protocol import ModelOptions
from service.clock import Clock
from service.engines.feed import Captioner
from service.engines.models import SwitchedEngine
from service.engines.process import EngineProcess
from service.engines.view import MonitoredEngine
from service.store.store import Store


class Engine(Captioner, MonitoredEngine, SwitchedEngine, Protocol):
    """All that the service asks of an engine."""


class OpenStore(Protocol):
    """See `Store.open`."""

    def __call__(
        self, where: str | Path, /, *, instance: str, base_topic: str, clock: Clock
    ) -> AbstractAsyncContextManager[Store]:
        """Open the store."""


class Connect(Protocol):
    """See `Connection`."""

    def __call__(
        self,
        options: ConnectionOptions,
        subscriptions: Iterable[Subscription] = (),
        /,
        *,
        on_change: Callable[[ConnectionState], None] | None = None,
    ) -> Connection:
        """Make a connection."""


class StartEngine(Protocol):
    """See `EngineProcess`."""

    def __call__(
        self,
        options: ModelOptions,
        /,
        *,
        image_limits: ImageLimits,
        load_timeout: float,
        step_timeout: float,
    ) -> AbstractAsyncContextManager[Engine]:
        """Make an engine, which starts on entering the context."""


@dataclass(frozen=True, slots=True)
class Parts:
    """One maker each."""

    open_store: OpenStore = Store.open
    connection: Connect = Connection
    engine: StartEngine = EngineProcess
    clock: Clock = field(default_factory=Clock)


REAL_PARTS = Parts()
