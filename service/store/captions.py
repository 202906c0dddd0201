"""What the store knows of captions: the newest of each camera, and those that hold words."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, cast, literal, select, text
from sqlalchemy.dialects.postgresql import TSQUERY

from schemas.job import JobStatus
from schemas.result import ResultDocument
from service.store.anchors import FEWEST_WORDS, SAMPLE, anchors, pieces
from service.store.caption_index import UNINDEXED, first_id, is_indexed
from service.store.database import in_groups
from service.store.jobs import OF_BATCH
from service.store.search_terms import Term, fts5_query, tsquery
from service.store.switches import is_on
from service.store.tables import captions, frames, jobs
from service.store.unreadable import UnreadableRow, readable

_END_OF_TIME = (1 << 63) - 1

# PostgreSQL: a word that stands in one of 300 captions fills a page from the newest of them, in
# order; of others an index of words has few enough to sort.
_NEWEST = 16_000

_PLAIN = (
    text("SET LOCAL jit = off"),
    text("SET LOCAL max_parallel_workers_per_gather = 0"),
    text("SET LOCAL plan_cache_mode = force_custom_plan"),
)

_MATCHING = text(
    "SELECT rowid FROM caption_words WHERE caption_words MATCH :words "
    "AND rowid >= :first AND rowid < :behind ORDER BY rowid DESC LIMIT :limit"
)
# The words found are looked for in the texts in the order in which the index has them.
_HOLDING = (
    "SELECT found.rowid FROM caption_words AS found "
    "CROSS JOIN captions ON captions.caption_id = found.rowid "
    "WHERE caption_words MATCH :words AND found.rowid >= :first AND found.rowid < :behind "
    "AND {} ORDER BY found.rowid DESC LIMIT :limit"
)
_SAMPLE = text(
    "SELECT camera_id, ' ' || words || ' ' FROM captions WHERE caption_id < :behind "
    "ORDER BY caption_id DESC LIMIT :limit"
)


@dataclass(frozen=True, slots=True)
class CaptionQuery:
    """Which captions; times are microseconds since 1970."""

    terms: Sequence[Term] | None  #: None: all
    camera_id: str | None
    since: int | None  #: from then on
    until: int | None  #: before then
    before: int | None  #: id of a caption that has been seen
    limit: int


@dataclass(frozen=True, slots=True)
class FoundCaption:
    """One of them."""

    document: ResultDocument
    has_image: bool  #: its picture is still kept


@dataclass(frozen=True, slots=True)
class FoundCaptions:
    """A page, the newest first."""

    items: list[FoundCaption]
    next_before: int | None  #: for the next page; None: there is none
    is_indexed: bool  #: False: this SQLite cannot search
    is_complete: bool  #: False: those of an earlier version are still being indexed


def search(connection: Connection, met: list[UnreadableRow], query: CaptionQuery) -> FoundCaptions:
    """See `Store.search_captions`."""
    if not is_indexed(connection):
        return FoundCaptions([], None, is_indexed=False, is_complete=False)
    limit = query.limit + 1
    ids = [] if query.terms is not None and not query.terms else _ids(connection, query, limit)
    page = ids[: query.limit]
    items = _documents(connection, met, page)
    next_before = page[-1] if len(ids) > len(page) else None
    is_complete = not is_on(connection, "", UNINDEXED)
    return FoundCaptions(items, next_before, is_indexed=True, is_complete=is_complete)


def _ids(connection: Connection, query: CaptionQuery, limit: int) -> list[int]:
    first = 0 if query.since is None else min(max(0, first_id(query.since)), _END_OF_TIME)
    behind = _END_OF_TIME if query.until is None else max(0, first_id(query.until))
    behind = min(behind, _END_OF_TIME)
    if query.before is not None:
        behind = min(behind, query.before)
    span = (captions.c.caption_id >= first, captions.c.caption_id < behind)
    newest_first = select(captions.c.caption_id).order_by(captions.c.caption_id.desc())
    is_sqlite = connection.dialect.name == "sqlite"
    # There the index of words is that of cameras too.
    if query.terms is None and (query.camera_id is None or not is_sqlite):
        if query.camera_id is not None:
            newest_first = newest_first.where(captions.c.camera_id == query.camera_id)
        return list(connection.scalars(newest_first.where(*span).limit(limit)))
    terms = query.terms or ()
    if is_sqlite:
        span_asked = {"first": first, "behind": behind, "limit": limit}
        return _sqlite_ids(connection, terms, query.camera_id, span_asked)
    return _postgres_ids(connection, tsquery(terms, query.camera_id), span, limit)


def _sqlite_ids(
    connection: Connection, terms: Sequence[Term], camera_id: str | None, asked: dict[str, int]
) -> list[int]:
    """All words from the index, or of many the seldom ones and the rest from the texts."""
    seldom = None
    if sum(len(term.words) for term in terms) >= FEWEST_WORDS:
        newest = connection.execute(_SAMPLE, {"behind": asked["behind"], "limit": SAMPLE}).all()
        of_camera = [words for camera, words in newest if camera_id in {None, camera}]
        seldom = anchors(terms, [words for _, words in newest], of_camera)
    if seldom is None:
        words = fts5_query(terms, camera_id)
        return list(connection.scalars(_MATCHING, {**asked, "words": words}))
    held = {f"held{i}": piece for i, piece in enumerate(dict.fromkeys(pieces(terms)))}
    holding = " AND ".join(f"instr(' ' || captions.words || ' ', :{name})" for name in held)
    words = fts5_query(seldom, camera_id)
    statement = text(_HOLDING.format(holding))
    return list(connection.scalars(statement, {**asked, **held, "words": words}))


def _postgres_ids(
    connection: Connection, words: str, span: Sequence[ColumnElement[bool]], limit: int
) -> list[int]:
    """Two ways, because the planner cannot know how often words stand together."""
    # To compile a query, or to start helpers for it, takes longer than the query; and a plan that
    # is to serve for any words is a bad one for these.
    for setting in _PLAIN:
        connection.execute(setting)
    matches = cast(literal(words), TSQUERY)
    newest = (
        select(captions.c.caption_id, captions.c.words)
        .where(*span)
        .order_by(captions.c.caption_id.desc())
        .limit(_NEWEST)
        .subquery()
    )
    among = select(newest.c.caption_id).where(newest.c.words.op("@@")(matches))
    found = connection.scalars(among.order_by(newest.c.caption_id.desc()).limit(limit)).all()
    if len(found) == limit:
        return list(found)
    number = captions.c.caption_id
    everywhere: Select[tuple[int]] = select(number).where(captions.c.words.op("@@")(matches), *span)
    # The sum keeps it from walking along the ids, past whatever does not match.
    return list(connection.scalars(everywhere.order_by((number + 0).desc()).limit(limit)))


def _documents(
    connection: Connection, met: list[UnreadableRow], caption_ids: Sequence[int]
) -> list[FoundCaption]:
    """The results in the order given; those that are gone or cannot be read are left out."""
    found: dict[int, FoundCaption] = {}
    has_image = select(frames.c.job_key).where(frames.c.job_key == jobs.c.job_key).exists()
    for group in in_groups(caption_ids):
        query = (
            select(*jobs.primary_key, jobs.c.result, captions.c.caption_id, has_image.label("has"))
            .join(captions, captions.c.job_key == jobs.c.job_key)
            .where(captions.c.caption_id.in_(group), jobs.c.result.is_not(None))
        )
        rows = readable(jobs, connection.execute(query), _to_found, met)
        found |= dict(rows)
    return [found[caption_id] for caption_id in caption_ids if caption_id in found]


def _to_found(row: Row[*tuple[Any, ...]]) -> tuple[int, FoundCaption]:
    return row.caption_id, FoundCaption(_to_result(row), bool(row.has))


def newest_results(
    connection: Connection, met: list[UnreadableRow], camera_ids: Collection[str]
) -> dict[str, ResultDocument]:
    """See `Store.newest_results`."""
    found: dict[str, ResultDocument] = {}
    for camera_id in camera_ids:
        query = (
            select(*jobs.primary_key, jobs.c.result)
            .where(
                jobs.c.camera_id == camera_id,
                jobs.c.status == JobStatus.COMPLETED.value,
                jobs.c.result.is_not(None),
                ~OF_BATCH,
            )
            .order_by(jobs.c.received_at.desc(), jobs.c.job_key.desc())
            .limit(1)
        )
        for document in readable(jobs, connection.execute(query), _to_result, met):
            found[camera_id] = document
    return found


def _to_result(row: Row[*tuple[Any, ...]]) -> ResultDocument:
    return ResultDocument.model_validate_json(row.result)
