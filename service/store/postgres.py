"""PostgreSQL through asyncpg, which comes with an extra of the package."""

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import URL, Connection
from sqlalchemy.ext.asyncio import create_async_engine

from service.errors import ConfigurationError

_T = TypeVar("_T")

_NUM_CONNECTIONS = 5


class PostgresConnections:
    """A few connections to one server.

    Args:
        url: With the driver asyncpg.

    Raises:
        ConfigurationError: The driver is not installed.
    """

    def __init__(self, url: URL) -> None:
        try:
            # The ping finds connections that a restart of the server has cut.
            self._engine = create_async_engine(
                url, pool_size=_NUM_CONNECTIONS, pool_pre_ping=True, hide_parameters=True
            )
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                "store.url: PostgreSQL needs the extra: pip install 'moondream2mqtt[postgres]'"
            ) from error

    async def transact(self, work: Callable[[Connection], _T], *, writes: bool) -> _T:
        """Run `work` in a transaction; at each statement the event loop goes on meanwhile."""
        del writes  # the server lets readers and writers in side by side
        async with self._engine.begin() as connection:
            return await connection.run_sync(work)

    async def look_up(self, work: Callable[[Connection], _T]) -> _T:
        """The same; there are connections for all."""
        return await self.transact(work, writes=False)

    @property
    def reserve_bytes(self) -> int:
        """Room is the server's own business, here and below."""
        return 0

    def check_room(self, num_bytes: int) -> None:
        """Nothing to do here."""

    async def cut_file(self) -> int:
        """Nothing to do here."""
        return 0

    async def empty_log(self) -> None:
        """Nothing to do here."""

    async def close(self) -> None:
        """Close all connections."""
        await self._engine.dispose()
