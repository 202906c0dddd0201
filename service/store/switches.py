"""What was switched at run time and stays so, as functions of a connection in a transaction.

A switch is on when its row is there, so there is nothing in it that could not be read.
"""

from sqlalchemy import Connection, delete, insert, select

from service.store.tables import switches

PAUSED = "paused"  #: the engines take no jobs


def is_on(connection: Connection, instance: str, name: str) -> bool:
    """Whether a switch of this instance is on."""
    query = select(switches.c.name).where(switches.c.instance == instance, switches.c.name == name)
    return connection.scalar(query) is not None


def turn(connection: Connection, instance: str, name: str, *, is_on: bool) -> None:
    """Turn a switch on or off, whichever it was."""
    this = (switches.c.instance == instance, switches.c.name == name)
    connection.execute(delete(switches).where(*this))
    if is_on:
        connection.execute(insert(switches).values(instance=instance, name=name))
