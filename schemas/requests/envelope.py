"""What every request and every answer has in common."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.job import ErrorDetail

MAX_TRANSACTION_CHARACTERS = 256

#: Given by whoever asks, and returned unchanged.
Transaction = str | int | None


class Request(BaseModel):
    """What can be said with an operation; a field that does not belong is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Nothing(Request):
    """No fields."""


class Answer(BaseModel):
    """The data of an answer."""

    model_config = ConfigDict(frozen=True)


class Reply(BaseModel):
    """An answer as it travels: exactly one of `data` and `error` is there, as `status` says."""

    model_config = ConfigDict(frozen=True)

    status: Literal["ok", "error"]
    data: dict[str, Any] | None = Field(default=None, exclude_if=lambda value: value is None)
    error: ErrorDetail | None = Field(default=None, exclude_if=lambda value: value is None)
    transaction: Transaction = Field(default=None, exclude_if=lambda value: value is None)
