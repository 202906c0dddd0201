"""A job is named by its camera and its id: the same id of another camera is another job.

SQLite changes neither a primary key nor a foreign key of a table, so `jobs` and `frames` are made
anew and copied, on PostgreSQL too.
"""

import json

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_KEY = sa.String(129)
_COPIED = (
    "instance, camera_id, job_id, status, priority, sha256, received_at, started_at, finished_at, "
    "attempts, engine_losses, error, document, result"
)


def upgrade() -> None:
    """Give every job, frame and message the key of its job."""
    _set_aside()
    _create()
    op.execute(
        f"INSERT INTO jobs (job_key, {_COPIED}) "  # noqa: S608 - constants
        f"SELECT camera_id || '/' || job_id, {_COPIED} FROM old_jobs"
    )
    op.execute(
        "INSERT INTO frames (job_key, num_bytes, image) "
        "SELECT jobs.job_key, num_bytes, image FROM old_frames "
        "JOIN jobs ON jobs.job_id = old_frames.job_id"
    )
    op.drop_table("old_frames")
    op.drop_table("old_jobs")
    _create_indexes()
    _upgrade_outbox()


def _set_aside() -> None:
    for name in ("jobs_by_status", "jobs_by_camera", "jobs_by_content", "jobs_by_end"):
        op.drop_index(name, "jobs")
    op.drop_index("frames_by_size", "frames")
    for name in ("jobs", "frames"):
        op.rename_table(name, f"old_{name}")
        if op.get_bind().dialect.name == "postgresql":  # where its index has a name of its own
            op.execute(f"ALTER INDEX {name}_pkey RENAME TO old_{name}_pkey")


def _create() -> None:
    op.create_table(
        "jobs",
        sa.Column("job_key", _KEY, primary_key=True),
        sa.Column("instance", sa.String(128), nullable=False),
        sa.Column("camera_id", sa.String(64), nullable=False),
        sa.Column("job_id", sa.String(64), nullable=False),
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
    op.create_table(
        "frames",
        sa.Column(
            "job_key", _KEY, sa.ForeignKey("jobs.job_key", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("num_bytes", sa.Integer, nullable=False),
        sa.Column("image", sa.LargeBinary, nullable=False),
    )


def _create_indexes() -> None:
    op.create_index("jobs_by_id", "jobs", ["job_id", "camera_id"])
    op.create_index("jobs_by_status", "jobs", ["status", "received_at"])
    op.create_index("jobs_by_camera", "jobs", ["camera_id", "received_at"])
    op.create_index("jobs_by_content", "jobs", ["sha256"])
    op.create_index("jobs_by_end", "jobs", ["finished_at"])
    op.create_index("frames_by_size", "frames", ["num_bytes"])


def _upgrade_outbox() -> None:
    op.add_column("outbox", sa.Column("job_key", _KEY))
    op.execute(
        "UPDATE outbox SET job_key = "
        "(SELECT job_key FROM jobs WHERE jobs.job_id = outbox.job_id) WHERE job_id IS NOT NULL"
    )
    _name_by_payload()
    op.drop_column("outbox", "job_id")


def _name_by_payload() -> None:
    """Find the camera of messages whose job is not there any more, or never was."""
    outbox = sa.table("outbox", *map(sa.column, ("message_id", "job_id", "job_key", "payload")))
    connection = op.get_bind()
    nameless = sa.select(outbox).where(outbox.c.job_id.is_not(None), outbox.c.job_key.is_(None))
    for row in connection.execute(nameless).all():
        try:
            camera_id = json.loads(row.payload)["camera_id"]
        except (ValueError, TypeError, KeyError):  # a picture
            continue
        if camera_id is not None:
            change = sa.update(outbox).where(outbox.c.message_id == row.message_id)
            connection.execute(change.values(job_key=f"{camera_id}/{row.job_id}"))
