"""A message that must go out: written with the transition that causes it, sent at least once."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from typing_extensions import TypedDict  # pydantic asks for it before Python 3.12

from schemas.frame import Headers
from schemas.job import split_key


class Channel(StrEnum):
    """How an outbox message leaves."""

    MQTT = "mqtt"
    WEBHOOK = "webhook"
    FRIGATE = "frigate"


class MessageOptions(TypedDict, total=False):
    """How a message is sent; the first five for MQTT, the others for a webhook."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    qos: Literal[0, 1]
    retain: bool
    user_properties: list[tuple[str, str]]
    correlation_data: Annotated[str, Field(pattern=r"^([0-9a-f]{2})*$")]
    content_type: str
    headers: Headers
    trusted: bool  #: the operator named the URL, not the frame
    webhook_id: str  #: where it is not the job id


class OutboxMessage(BaseModel):
    """One message to one destination: a topic, the URL of a webhook, or an object of Frigate's."""

    model_config = ConfigDict(frozen=True)

    message_id: int | None = Field(default=None, description="given by the store")
    job_key: str | None = Field(description="see schemas.job; null for what names no job")
    channel: Channel
    destination: str
    payload: bytes
    options: MessageOptions = Field(default_factory=MessageOptions)
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
