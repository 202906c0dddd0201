"""The tables, as the newest migration leaves them.

Columns that end in `_at` are shown: whole microseconds since 1970 in UTC, exact, ordered, the same
in both databases, and as wrong as the clock was. What decides is `elapsed` or `running` time in
microseconds, see `timekeeper.py`. Rows never leave this package; `rows.py` turns them into schemas.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import TSVECTOR

metadata = MetaData()

#: What a job was when it came in is `document`; what changes afterwards has a column of its own,
#: and the column counts.
jobs = Table(
    "jobs",
    metadata,
    Column("job_key", String(129), primary_key=True),  # see schemas.job
    Column("instance", String(128), nullable=False),  # whose heap it belongs to
    Column("camera_id", String(64), nullable=False),
    Column("job_id", String(64), nullable=False),
    Column("status", String(16), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("content", String(64), nullable=False, server_default=""),  # picture and question
    Column("received_at", BigInteger, nullable=False),
    Column("started_at", BigInteger),
    Column("finished_at", BigInteger),
    Column("arrived", BigInteger, nullable=False),  # elapsed time
    Column("ended", BigInteger),  # elapsed time
    Column("attempts", Integer, nullable=False),
    Column("engine_losses", Integer, nullable=False),
    Column("error", Text),  # ErrorDetail as JSON
    Column("document", Text, nullable=False),  # Job as JSON
    Column("result", Text),  # ResultDocument as JSON
    Column("fingerprint", LargeBinary),  # of a captioned frame, as its engine said; else NULL
)
Index("jobs_by_id", jobs.c.job_id, jobs.c.camera_id)
Index("jobs_by_content", jobs.c.content)
# The pages of lists: first the order, its ties included, then what is filtered by, so that no page
# is sorted and what does not match is passed over without looking at the row.
Index("jobs_by_time", jobs.c.received_at, jobs.c.job_key)
Index("jobs_by_status", jobs.c.status, jobs.c.received_at, jobs.c.job_key)
Index("jobs_by_camera", jobs.c.camera_id, jobs.c.received_at, jobs.c.job_key, jobs.c.status)
Index(
    "jobs_by_priority",
    jobs.c.priority,
    jobs.c.received_at,
    jobs.c.job_key,
    jobs.c.status,
    jobs.c.camera_id,
)
Index(
    "jobs_by_end",
    jobs.c.ended,
    jobs.c.received_at,
    jobs.c.job_key,
    jobs.c.status,
    jobs.c.camera_id,
)
Index(
    "jobs_by_fingerprint",
    jobs.c.camera_id,
    jobs.c.ended,
    sqlite_where=jobs.c.fingerprint.is_not(None),
    postgresql_where=jobs.c.fingerprint.is_not(None),
)

frames = Table(
    "frames",
    metadata,
    Column(
        "job_key", String(129), ForeignKey("jobs.job_key", ondelete="CASCADE"), primary_key=True
    ),
    Column("num_bytes", Integer, nullable=False),
    Column("image", LargeBinary, nullable=False),
)
Index("frames_by_size", frames.c.num_bytes)  # the sum is read from it, not past the images

#: No foreign key: a message outlives its job when a receiver is away longer than jobs are kept.
outbox = Table(
    "outbox",
    metadata,
    Column(
        "message_id",
        BigInteger().with_variant(Integer, "sqlite"),
        primary_key=True,
        autoincrement=True,
    ),
    Column("instance", String(128), nullable=False),
    Column("job_key", String(129)),
    Column("channel", String(16), nullable=False),
    Column("destination", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("options", Text, nullable=False),  # JSON
    Column("attempts", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("receiver", String(300), nullable=False),  # origin of a webhook's URL; empty: the broker
    Column("destination_key", BigInteger, nullable=False),  # of a webhook's URL, see rows.py
    Column("num_bytes", Integer, nullable=False),
    Column("written", BigInteger, nullable=False),  # running time
    # 0: in its turn. Else it has stepped aside, and is not sent before this running time.
    Column("due", BigInteger, nullable=False),
    # Ids are never used again: a late `sent` must not remove another message.
    sqlite_autoincrement=True,
)
#: Who has messages, in which order, and how much of them: all are read from it alone.
Index(
    "outbox_by_receiver",
    outbox.c.instance,
    outbox.c.channel,
    outbox.c.receiver,
    outbox.c.destination_key,
    outbox.c.due,
    outbox.c.message_id,
    outbox.c.num_bytes,
)

cameras = Table(
    "cameras",
    metadata,
    Column("camera_id", String(64), primary_key=True),
    Column("settings", Text, nullable=False),  # JSON: what was changed at run time
    Column("seen", BigInteger),  # elapsed time of its newest frame; NULL: none has come
    Column("name", Text),  # what a foreign system calls it; NULL: none does
)

#: What was switched at run time; see `switches.py`. A row that is there is a switch that is on.
switches = Table(
    "switches",
    metadata,
    Column("instance", String(128), primary_key=True),
    Column("name", String(64), primary_key=True),
)

#: One row; see `timekeeper.py`.
timekeeping = Table(
    "timekeeping",
    metadata,
    Column("timekeeping_id", Integer, primary_key=True),
    Column("elapsed", BigInteger, nullable=False),
    Column("running", BigInteger, nullable=False),
    Column("wall", BigInteger, nullable=False),
    Column("monotonic", BigInteger, nullable=False),
    Column("boot_id", String(64), nullable=False),
)

#: Who shares a server; empty on SQLite, where a file has one service.
instances = Table(
    "instances",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("base_topic", Text),  # NULL: not known
    Column("run", String(32), nullable=False),  # which process
    Column("beat", BigInteger, nullable=False),  # counts up while it lives
)

#: Many frames of one request; the counts are those of the end, until then the items are counted.
batches = Table(
    "batches",
    metadata,
    Column("batch_id", String(64), primary_key=True),
    Column("instance", String(128), nullable=False),  # who feeds it
    Column("name", Text),
    Column("status", String(16), nullable=False),  # storing, running, cancelled
    Column("num_items", Integer, nullable=False),
    Column("num_completed", Integer),
    Column("num_failed", Integer),
    Column("num_cancelled", Integer),
    Column("created_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger),
    Column("ended", BigInteger),  # elapsed time
)
Index("batches_by_time", batches.c.created_at)
Index("batches_by_end", batches.c.ended)

batch_items = Table(
    "batch_items",
    metadata,
    Column(
        "batch_id", String(64), ForeignKey("batches.batch_id", ondelete="CASCADE"), primary_key=True
    ),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("camera_id", String(64)),
    Column("job_key", String(129)),  # NULL: it never became a job
    Column("is_own", Boolean, nullable=False),  # its job was made for this batch
    Column("error", Text),  # ErrorDetail as JSON, where it became none
)
Index("batch_items_by_job", batch_items.c.job_key)

#: What the broker retains for Home Assistant, or will once the outbox is empty; see `discovery.py`.
discovery = Table(
    "discovery",
    metadata,
    Column("base_topic", String(255), primary_key=True),  # of the service that published it
    Column("topic", String(1024), primary_key=True),
    Column("object_id", String(255), nullable=False),  # of its device
    Column("payload", LargeBinary, nullable=False),
)
Index("discovery_by_device", discovery.c.base_topic, discovery.c.object_id)
#: What Frigate has said, see `frigate_events.py`.
frigate_events = Table(
    "frigate_events",
    metadata,
    Column("instance", String(128), primary_key=True),
    Column("event_key", String(80), primary_key=True),
    Column("document", Text, nullable=False),  # schemas.frigate.Subject as JSON
    Column("first_heard", BigInteger, nullable=False),  # elapsed time, as the two that follow
    Column("heard", BigInteger, nullable=False),
    Column("ended", BigInteger),
    Column("num_described", Integer, nullable=False),
    Column("is_done", Integer, nullable=False),  # 0 or 1
)
#: Files of watched folders that were taken; see `folder_files.py`.
folder_files = Table(
    "folder_files",
    metadata,
    Column("instance", String(128), primary_key=True),
    Column("folder", String(32), primary_key=True),  # hash of its path
    Column("file", String(32), primary_key=True),  # hash of the path in it
    Column("modified", BigInteger, nullable=False),  # nanoseconds since 1970
    Column("size", BigInteger, nullable=False),
    Column("changed", BigInteger, nullable=False),  # of the inode, nanoseconds since 1970
)
Index(
    "folder_files_by_change", folder_files.c.instance, folder_files.c.folder, folder_files.c.changed
)
#: Topics that the broker retains a message of ours on, or will once the outbox is empty; those of
#: discovery have a table of their own. See `retained.py`.
retained = Table(
    "retained",
    metadata,
    Column("instance", String(128), primary_key=True),
    Column("topic", String(1024), primary_key=True),
)
#: What can be searched, see `caption_index.py`. Only the migration knows its indexes: on
#: PostgreSQL `captions_by_camera` and `captions_by_word`, on SQLite `caption_words` of FTS5.
captions = Table(
    "captions",
    metadata,
    Column(
        "caption_id",
        BigInteger().with_variant(Integer, "sqlite"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("job_key", String(129), nullable=False),
    Column("camera_id", String(64), nullable=False),
    Column("words", Text().with_variant(TSVECTOR(), "postgresql"), nullable=False),
)
