"""The two connections to the broker as one part that is watched."""

from dataclasses import asdict

from broker.connection import Connection
from broker.publisher import Publisher
from schemas.status import Figures, HealthCheck


class BrokerView:
    """What the connections say of themselves.

    Args:
        receiving: Frames come over it.
        publishing: Everything leaves by it.
        publisher: Counts what was left out.
    """

    def __init__(self, receiving: Connection, publishing: Connection, publisher: Publisher) -> None:
        self._receiving = receiving
        self._publishing = publishing
        self._publisher = publisher

    async def figures(self) -> Figures:
        """For `bridge/stats`."""
        received, published = asdict(self._receiving.counters), asdict(self._publishing.counters)
        counts = {name: received[name] + published[name] for name in received}
        # Said by the broker, of all its clients, and only to who receives.
        counts["broker_dropped"] = received["broker_dropped"]
        return {"connection": counts | {"unpublished": self._publisher.num_lost}}

    def health(self) -> HealthCheck:
        """Whether frames come in and captions go out."""
        for connection in (self._receiving, self._publishing):
            state = connection.state
            if not state.is_connected:
                return HealthCheck(status="unhealthy", message=state.reason)
            if state.refused_subscriptions:
                refused = ", ".join(state.refused_subscriptions)
                return HealthCheck(status="unhealthy", message=f"no right to subscribe: {refused}")
        if dropped := self._receiving.counters.broker_dropped:
            return HealthCheck(status="degraded", message=f"the broker dropped {dropped} messages")
        return HealthCheck(status="healthy", message="ok")
