"""A message that must go out: written with the transition that causes it, sent at least once."""

from enum import StrEnum
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from schemas.job import split_key


class Channel(StrEnum):
    """How an outbox message leaves."""

    MQTT = "mqtt"
    WEBHOOK = "webhook"


class OutboxMessage(BaseModel):
    """One message to one destination.

    For MQTT the destination is a topic and `options` may hold `qos`, `retain` and MQTT 5 properties
    (`user_properties`, `correlation_data` as hexadecimal, `content_type`); for a webhook it is a
    URL and `options` holds the sender's `headers`, and `webhook_id` where that is not the job id.
    """

    model_config = ConfigDict(frozen=True)

    message_id: int | None = Field(default=None, description="given by the store")
    job_key: str | None = Field(description="see schemas.job; null for what names no job")
    channel: Channel
    destination: str
    payload: bytes
    options: dict[str, Any] = Field(default_factory=dict)
    attempts: int = 0
    created_at: AwareDatetime = Field(description="to be shown; the store measures what it waits")
    receiver: str = Field(
        default="", description="scheme, host and port of a webhook's URL; empty: the broker"
    )
    waited_s: float = Field(
        default=0.0, description="how long the service has run with it, as it was read for sending"
    )

    @property
    def camera_id(self) -> str | None:
        """Of the job it is about."""
        return None if self.job_key is None else split_key(self.job_key)[0]

    @property
    def job_id(self) -> str | None:
        """Of the job it is about, as the sender of the frame knows it."""
        return None if self.job_key is None else split_key(self.job_key)[1]

    @property
    def row_id(self) -> int:
        """The id the store gave it.

        Raises:
            ValueError: It has not been stored yet.
        """
        if self.message_id is None:
            raise ValueError("the message has not been stored yet")
        return self.message_id
