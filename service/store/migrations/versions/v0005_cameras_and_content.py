"""Which cameras have been seen, and what was asked of a picture.

Cameras of before are those of the jobs that are kept. What those jobs were asked is not looked up:
an equal picture that comes again within the window is captioned once more.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_jobs = sa.table("jobs", *map(sa.column, ("camera_id", "arrived")))
_cameras = sa.table("cameras", *map(sa.column, ("camera_id", "settings", "seen")))


def upgrade() -> None:
    """Add the columns, and fill in who was there."""
    op.add_column("cameras", sa.Column("seen", sa.BigInteger))
    bind = op.get_bind()
    known = set(bind.scalars(sa.select(_cameras.c.camera_id)))
    newest = sa.select(_jobs.c.camera_id, sa.func.max(_jobs.c.arrived)).group_by(_jobs.c.camera_id)
    for camera_id, seen in bind.execute(newest).all():
        if camera_id in known:
            this = _cameras.c.camera_id == camera_id
            bind.execute(sa.update(_cameras).where(this).values(seen=seen))
        else:
            bind.execute(sa.insert(_cameras).values(camera_id=camera_id, settings="{}", seen=seen))
    op.add_column("jobs", sa.Column("content", sa.String(64), nullable=False, server_default=""))
    op.drop_index("jobs_by_content", "jobs")
    op.create_index("jobs_by_content", "jobs", ["content"])
