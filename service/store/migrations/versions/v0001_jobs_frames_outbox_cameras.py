"""Jobs, their frames, the outbox, and camera settings changed at run time."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the first tables."""
    op.create_table(
        "jobs",
        sa.Column("job_id", sa.String(64), primary_key=True),
        sa.Column("instance", sa.String(128), nullable=False),
        sa.Column("camera_id", sa.String(64), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("received_at", sa.BigInteger, nullable=False),
        sa.Column("started_at", sa.BigInteger),
        sa.Column("finished_at", sa.BigInteger),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("engine_losses", sa.Integer, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("result", sa.Text),
    )
    op.create_index("jobs_by_status", "jobs", ["status", "received_at"])
    op.create_index("jobs_by_camera", "jobs", ["camera_id", "received_at"])
    op.create_index("jobs_by_content", "jobs", ["sha256"])
    op.create_index("jobs_by_end", "jobs", ["finished_at"])
    op.create_table(
        "frames",
        sa.Column(
            "job_id",
            sa.String(64),
            sa.ForeignKey("jobs.job_id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("num_bytes", sa.Integer, nullable=False),
        sa.Column("image", sa.LargeBinary, nullable=False),
    )
    op.create_index("frames_by_size", "frames", ["num_bytes"])
    op.create_table(
        "outbox",
        sa.Column(
            "message_id",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            primary_key=True,
            autoincrement=True,
        ),
        sa.Column("instance", sa.String(128), nullable=False),
        sa.Column("job_id", sa.String(64)),
        sa.Column("channel", sa.String(16), nullable=False),
        sa.Column("destination", sa.Text, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("options", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("next_attempt_at", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("outbox_by_time", "outbox", ["channel", "next_attempt_at"])
    op.create_table(
        "cameras",
        sa.Column("camera_id", sa.String(64), primary_key=True),
        sa.Column("settings", sa.Text, nullable=False),
    )
