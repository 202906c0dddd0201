"""Requests about captions that are kept."""

from collections.abc import Sequence
from datetime import datetime

from schemas.requests.captions import CAPTION_SEARCH, CaptionFilter, CaptionPage, CaptionView
from schemas.requests.operation import Bound
from service.operations.operations import OperationError
from service.store.captions import CaptionQuery
from service.store.rows import to_microseconds
from service.store.search_terms import terms_of
from service.store.store import Store


class CaptionOperations:
    """Searches.

    Args:
        store: Where they are.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def bound(self) -> Sequence[Bound]:
        """What can be asked for here."""
        return (CAPTION_SEARCH.bind(self.search),)

    async def search(self, request: CaptionFilter) -> CaptionPage:
        """The captions that hold words.

        Raises:
            OperationError: `wrong_state`: the database cannot search.
        """
        query = CaptionQuery(
            terms=terms_of(request.q) if request.q and request.q.strip() else None,
            camera_id=request.camera_id,
            since=_microseconds(request.since),
            until=_microseconds(request.until),
            before=None if request.before is None else int(request.before),
            limit=request.limit,
        )
        found = await self._store.search_captions(query)
        if not found.is_indexed:
            raise OperationError(
                "wrong_state",
                "captions cannot be searched: this Python's SQLite has no FTS5, or its index is "
                "being made anew",
            )
        return CaptionPage(
            items=tuple(
                CaptionView(**vars(each.document), has_image=each.has_image) for each in found.items
            ),
            next_before=None if found.next_before is None else str(found.next_before),
            is_complete=found.is_complete,
        )


def _microseconds(moment: datetime | None) -> int | None:
    return None if moment is None else to_microseconds(moment)
