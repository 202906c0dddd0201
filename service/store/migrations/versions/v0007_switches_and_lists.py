"""What the operator has switched at run time."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "switches",
        sa.Column("instance", sa.String(128), primary_key=True),
        sa.Column("name", sa.String(64), primary_key=True),
    )
