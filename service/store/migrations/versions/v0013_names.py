"""What foreign systems call their cameras."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Add the column."""
    op.add_column("cameras", sa.Column("name", sa.Text()))
