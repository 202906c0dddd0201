"""The services that share a server, so that the jobs of one that is no more are taken over."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create the table; who is there enters himself."""
    op.create_table(
        "instances",
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("base_topic", sa.Text),
        sa.Column("run", sa.String(32), nullable=False),
        sa.Column("beat", sa.BigInteger, nullable=False),
    )
