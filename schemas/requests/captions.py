"""Requests about captions that are kept: a search in them, and what a camera has seen."""

from typing import Annotated

from pydantic import AwareDatetime, Field

from schemas.frame import CameraId
from schemas.requests.envelope import Answer, Request
from schemas.requests.jobs import MAX_PAGE
from schemas.requests.operation import Operation
from schemas.result import ResultDocument

MAX_QUERY_CHARACTERS = 256


class CaptionFilter(Request):
    """Which captions; without a word all of them."""

    q: str | None = Field(
        default=None,
        max_length=MAX_QUERY_CHARACTERS,
        description='words, `"phrases in quotes"` and `beginnings*` that all have to be in the '
        "caption or its answers; case, accents and marks count for nothing",
    )
    camera_id: CameraId | None = None
    since: AwareDatetime | None = Field(default=None, description="that ended then or later")
    until: AwareDatetime | None = Field(default=None, description="that ended before then")
    limit: int = Field(default=50, ge=1, le=MAX_PAGE)
    before: Annotated[str, Field(pattern=r"^[0-9]{1,19}$")] | None = Field(
        default=None, description="`next_before` of the page before"
    )


class CaptionView(ResultDocument, Answer):
    """A result document."""

    has_image: bool = Field(description="its picture is still kept")


class CaptionPage(Answer):
    """Some of the captions that match, the newest first."""

    items: tuple[CaptionView, ...]
    next_before: str | None = Field(description="`before` of the next page; null: there is none")
    is_complete: bool = Field(
        description="false while captions of an earlier version are still being indexed"
    )


CAPTION_SEARCH = Operation(
    "caption/search",
    CaptionFilter,
    CaptionPage,
    "The kept captions that hold words, the newest first; without words, all.",
    {"q": '"red car" deliver*', "camera_id": "front_door", "limit": 10},
)

CAPTIONS = (CAPTION_SEARCH,)
