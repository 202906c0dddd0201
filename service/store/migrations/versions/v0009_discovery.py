"""Discovery: what the broker retains for Home Assistant."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the table; nothing was published before."""
    op.create_table(
        "discovery",
        sa.Column("base_topic", sa.String(255), primary_key=True),
        sa.Column("topic", sa.String(1024), primary_key=True),
        sa.Column("object_id", sa.String(255), nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
    )
    op.create_index("discovery_by_device", "discovery", ["base_topic", "object_id"])
