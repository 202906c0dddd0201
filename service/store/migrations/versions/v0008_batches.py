"""Batches: many frames of one request, which wait beside the queue."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the tables; there were no batches before."""
    op.create_table(
        "batches",
        sa.Column("batch_id", sa.String(64), primary_key=True),
        sa.Column("instance", sa.String(128), nullable=False),
        sa.Column("name", sa.Text),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("num_items", sa.Integer, nullable=False),
        sa.Column("num_completed", sa.Integer),
        sa.Column("num_failed", sa.Integer),
        sa.Column("num_cancelled", sa.Integer),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("finished_at", sa.BigInteger),
        sa.Column("ended", sa.BigInteger),
    )
    op.create_index("batches_by_time", "batches", ["created_at"])
    op.create_index("batches_by_end", "batches", ["ended"])
    op.create_table(
        "batch_items",
        sa.Column(
            "batch_id",
            sa.String(64),
            sa.ForeignKey("batches.batch_id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("camera_id", sa.String(64)),
        sa.Column("job_key", sa.String(129)),
        sa.Column("is_own", sa.Boolean, nullable=False),
        sa.Column("error", sa.Text),
    )
    op.create_index("batch_items_by_job", "batch_items", ["job_key"])
