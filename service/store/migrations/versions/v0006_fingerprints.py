"""The fingerprint of a captioned frame, so that it is known to every engine and after a restart."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the column; frames of before have none and are not compared with."""
    op.add_column("jobs", sa.Column("fingerprint", sa.LargeBinary))
    has_one = sa.text("fingerprint IS NOT NULL")
    op.create_index(
        "jobs_by_fingerprint",
        "jobs",
        ["camera_id", "ended"],
        sqlite_where=has_one,
        postgresql_where=has_one,
    )
