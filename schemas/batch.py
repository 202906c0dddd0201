"""How a batch is doing: what its progress topic and every answer about it say."""

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

#: A cancelled batch is over once what was being captioned has ended too, see `finished_at`.
BatchState = Literal["running", "finished", "cancelled"]


class BatchProgress(BaseModel):
    """One batch, on `<base>/bridge/batch/<batch_id>`."""

    model_config = ConfigDict(frozen=True)

    batch_id: str
    name: str | None = None
    state: BatchState
    total: int = Field(description="items")
    completed: int = Field(description="captioned")
    failed: int = Field(description="ended in any other way, items that are no frames included")
    cancelled: int
    progress: float = Field(description="share of the items that have ended, 0 to 1")
    estimated_wait_time: float | None = Field(
        default=None, description="seconds until the last one ends; null: not known, or over"
    )
    created_at: AwareDatetime
    finished_at: AwareDatetime | None = None
