"""What the operator has switched at run time, and indexes from which pages of lists are read."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_TIME = ["received_at", "job_key"]


def upgrade() -> None:
    """Add the table, and make the indexes wider."""
    op.create_table(
        "switches",
        sa.Column("instance", sa.String(128), primary_key=True),
        sa.Column("name", sa.String(64), primary_key=True),
    )
    for name in ("jobs_by_status", "jobs_by_camera", "jobs_by_end"):
        op.drop_index(name, "jobs")
    op.create_index("jobs_by_time", "jobs", _TIME)
    op.create_index("jobs_by_status", "jobs", ["status", *_TIME])
    op.create_index("jobs_by_camera", "jobs", ["camera_id", *_TIME, "status"])
    op.create_index("jobs_by_priority", "jobs", ["priority", *_TIME, "status", "camera_id"])
    op.create_index("jobs_by_end", "jobs", ["ended", *_TIME, "status", "camera_id"])
