"""The outbox by receiver, and time that does not depend on the clock.

Rows of before are as old as the newest of them says: what the clock shows now may be anything.
"""

import hashlib
from urllib.parse import urlsplit

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_jobs = sa.table("jobs", *map(sa.column, ("received_at", "finished_at", "arrived", "ended")))
_OLD = ("channel", "destination", "payload", "options")
_outbox = sa.table("outbox", *map(sa.column, (*_OLD, "receiver", "destination_key", "num_bytes")))


def upgrade() -> None:
    """Add the columns, fill them, and index what is asked for."""
    op.create_table(
        "timekeeping",
        sa.Column("timekeeping_id", sa.Integer, primary_key=True),
        sa.Column("elapsed", sa.BigInteger, nullable=False),
        sa.Column("running", sa.BigInteger, nullable=False),
        sa.Column("wall", sa.BigInteger, nullable=False),
        sa.Column("monotonic", sa.BigInteger, nullable=False),
        sa.Column("boot_id", sa.String(64), nullable=False),
    )
    _upgrade_jobs()
    _upgrade_outbox()


def _upgrade_jobs() -> None:
    # Databases want a default for rows that are there; rows to come always say it.
    op.add_column("jobs", sa.Column("arrived", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("ended", sa.BigInteger))
    newest = max(
        op.get_bind().scalar(sa.select(sa.func.max(column))) or 0
        for column in (_jobs.c.received_at, _jobs.c.finished_at)
    )
    op.execute(
        sa.update(_jobs).values(
            arrived=_jobs.c.received_at - newest, ended=_jobs.c.finished_at - newest
        )
    )
    op.drop_index("jobs_by_end", "jobs")
    op.create_index("jobs_by_end", "jobs", ["ended"])


def _upgrade_outbox() -> None:
    op.drop_index("outbox_by_time", "outbox")
    op.drop_column("outbox", "next_attempt_at")
    for column in (
        sa.Column("receiver", sa.String(300), nullable=False, server_default=""),
        sa.Column("destination_key", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("num_bytes", sa.Integer, nullable=False, server_default="0"),
        sa.Column("written", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("due", sa.BigInteger, nullable=False, server_default="0"),
    ):
        op.add_column("outbox", column)
    length = sa.func.length
    num_bytes = (
        length(_outbox.c.payload) + length(_outbox.c.destination) + length(_outbox.c.options)
    )
    op.execute(sa.update(_outbox).values(num_bytes=num_bytes))
    is_webhook = _outbox.c.channel == "webhook"
    urls = op.get_bind().scalars(sa.select(_outbox.c.destination).where(is_webhook).distinct())
    for url in urls.all():
        digest = hashlib.sha256(url.encode()).digest()
        op.execute(
            sa.update(_outbox)
            .where(is_webhook, _outbox.c.destination == url)
            .values(
                receiver=_origin(url),
                destination_key=int.from_bytes(digest[:8], "big", signed=True),
            )
        )
    op.create_index(
        "outbox_by_receiver",
        "outbox",
        [
            "instance",
            "channel",
            "receiver",
            "destination_key",
            "due",
            "message_id",
            "num_bytes",
        ],
    )


def _origin(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(unreadable URL)"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2].lower()}"[:300]
