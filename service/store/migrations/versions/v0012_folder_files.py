"""Files of watched folders that were taken, so that none is captioned twice."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Add the table; there were no folders before."""
    op.create_table(
        "folder_files",
        sa.Column("instance", sa.String(128), primary_key=True),
        sa.Column("folder", sa.String(32), primary_key=True),
        sa.Column("file", sa.String(32), primary_key=True),
        sa.Column("modified", sa.BigInteger, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("changed", sa.BigInteger, nullable=False),
    )
    op.create_index("folder_files_by_change", "folder_files", ["instance", "folder", "changed"])
