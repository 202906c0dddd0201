"""Requests about the service itself."""

from collections.abc import Sequence

from schemas.requests.bridge import (
    HEALTH,
    INFO,
    QUEUE_STATS,
    HealthAnswer,
    InfoAnswer,
    StatsAnswer,
)
from schemas.requests.envelope import Nothing
from schemas.requests.operation import Bound
from service.monitor import Monitor


class BridgeOperations:
    """Answers what the bridge documents say.

    Args:
        monitor: Makes them.
    """

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor

    def bound(self) -> Sequence[Bound]:
        """What can be asked for here."""
        return (
            INFO.bind(self.info),
            HEALTH.bind(self.health),
            QUEUE_STATS.bind(self.stats),
        )

    async def info(self, _: Nothing) -> InfoAnswer:
        """Who is running here."""
        return InfoAnswer(**vars(self._monitor.info()))

    async def health(self, _: Nothing) -> HealthAnswer:
        """Whether the service can do its job."""
        return HealthAnswer(**vars(self._monitor.health()))

    async def stats(self, _: Nothing) -> StatsAnswer:
        """Counts and rates, published as well."""
        return StatsAnswer(**vars(await self._monitor.publish_stats()))
