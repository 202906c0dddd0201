"""Retained: which topics the broker keeps a message of ours on."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Add the table; what earlier versions published is known as far as it is published again."""
    op.create_table(
        "retained",
        sa.Column("instance", sa.String(128), primary_key=True),
        sa.Column("topic", sa.String(1024), primary_key=True),
    )
