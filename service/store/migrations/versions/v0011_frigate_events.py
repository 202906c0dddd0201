"""What Frigate has said of objects and reviews, and how far each is described."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0009"


def upgrade() -> None:
    """Add the table; Frigate was not followed before."""
    op.create_table(
        "frigate_events",
        sa.Column("instance", sa.String(128), primary_key=True),
        sa.Column("event_key", sa.String(80), primary_key=True),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("first_heard", sa.BigInteger, nullable=False),
        sa.Column("heard", sa.BigInteger, nullable=False),
        sa.Column("ended", sa.BigInteger),
        sa.Column("num_described", sa.Integer, nullable=False),
        sa.Column("is_done", sa.Integer, nullable=False),
    )
