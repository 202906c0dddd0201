"""Home Assistant's birth message: it has started, and wants to be told what there is.

Anybody may say it, a thousand times a second, so here it is only noticed.
"""

from collections.abc import Callable, Sequence

from broker.message import Message
from broker.options import Subscription


class BirthMessages:
    """The source of birth messages, as far as the receiving connection is concerned.

    Args:
        topic: Where Home Assistant says that it is there.
        online: What it says then; whatever else is said is ignored.
        on_birth: Told of each; must be quick.
    """

    def __init__(self, topic: str, online: str, on_birth: Callable[[], None]) -> None:
        self._topic = topic
        self._online = online.encode()
        self._on_birth = on_birth

    @property
    def subscriptions(self) -> Sequence[Subscription]:
        """That topic; some let Home Assistant retain what it says there."""
        return (Subscription(self._topic, accept_retained=True, is_optional=True),)

    def claims(self, topic: str) -> bool:
        """Whether it is that topic."""
        return topic == self._topic

    def read(self, message: Message) -> None:
        """Take notice; it is no frame, whatever it says."""
        if message.payload == self._online:
            self._on_birth()
