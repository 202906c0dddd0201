"""What is written into Frigate about one of its objects; kept in the outbox until it is there."""

from pydantic import BaseModel, ConfigDict, Field

#: Of all that goes to Frigate in the outbox: there is one.
RECEIVER = "frigate"


class WriteBack(BaseModel):
    """A description, and what was chosen for a sub label."""

    model_config = ConfigDict(frozen=True, cache_strings="keys")

    description: str = Field(min_length=1)
    sub_label: str | None = Field(default=None, min_length=1, description="what was chosen")
    score: float | None = Field(default=None, ge=0, le=1, description="how sure the choice was")
