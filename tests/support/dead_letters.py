"""Dead letters that a test reads in place of the broker."""

from broker.topics import Topics
from schemas.status import DeadLetter
from service.delivery.dead_letters import DeadLetters
from service.store.store import Store


class Letters(DeadLetters):
    """Keeps them in memory."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, Topics("base"))
        self.written: list[DeadLetter] = []
        self.is_broken = False

    async def write(self, *letters: DeadLetter) -> None:
        if self.is_broken:
            raise ValueError("broken")
        self.written.extend(letters)
