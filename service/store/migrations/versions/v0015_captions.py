"""Search in captions.

Those that are there already are indexed after the start, in small steps: see
`service.store.indexing`.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TSVECTOR

revision = "0015"
down_revision = "0014"

_CREATE_WORDS = """
    CREATE VIRTUAL TABLE caption_words USING fts5(
        camera, words, content='', columnsize=0, prefix='1 2 3 4 5 6 7 8',
        tokenize="unicode61 remove_diacritics 0"
    )
"""


def upgrade() -> None:
    """Add the table and the index of its words."""
    op.create_table(
        "captions",
        sa.Column(
            "caption_id",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("job_key", sa.String(129), nullable=False),
        sa.Column("camera_id", sa.String(64), nullable=False),
        sa.Column("words", sa.Text().with_variant(TSVECTOR(), "postgresql"), nullable=False),
    )
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        op.create_index("captions_by_camera", "captions", ["camera_id", "caption_id"])
        op.create_index("captions_by_word", "captions", ["words"], postgresql_using="gin")
    elif connection.scalar(sa.text("SELECT count(*) FROM pragma_module_list WHERE name = 'fts5'")):
        op.execute("DROP TABLE IF EXISTS caption_words")
        op.execute(_CREATE_WORDS)
    op.execute(
        "INSERT INTO switches (instance, name) SELECT '', 'unindexed captions' "
        "WHERE EXISTS (SELECT 1 FROM jobs WHERE status = 'completed')"
    )
