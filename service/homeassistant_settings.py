"""Settings of Home Assistant's discovery: whether, where and in which form it is published."""

from typing import Literal, Self

from pydantic import Field, model_validator

from service.setting_types import Section, Text, TopicPrefix


class HomeAssistantSettings(Section):
    """Entities in Home Assistant, by MQTT discovery."""

    enabled: bool = Field(
        default=True,
        description="publish discovery; off takes back what was published, and so leaves no entity",
    )
    discovery_prefix: TopicPrefix = Field(
        default="homeassistant", description="as in Home Assistant's MQTT integration"
    )
    discovery: Literal["device", "components"] = Field(
        default="device",
        description="one message a device, or one an entity for Home Assistant before 2024.11; "
        "entities keep their ids when it is changed",
    )
    language: Literal["en", "de"] = Field(default="en", description="of the entities' names")
    status_topic: TopicPrefix | None = Field(
        default=None,
        description="where Home Assistant says that it has started; none: status below "
        "discovery_prefix",
    )
    status_online: Text = Field(
        default="online", min_length=1, description="what it says there then"
    )
    check_updates: bool = Field(
        default=False,
        description="ask updates_url once a day whether there is a newer release, shown as an "
        "update entity; otherwise nothing is asked",
    )
    updates_url: Text | None = Field(
        default=None,
        description="JSON with version, tag_name (GitHub's releases/latest) or info.version (PyPI)",
    )

    @property
    def birth_topic(self) -> str:
        """Where Home Assistant says that it has started."""
        return self.status_topic or f"{self.discovery_prefix}/status"

    @model_validator(mode="after")
    def _updates_can_be_asked_for(self) -> Self:
        if self.check_updates and self.updates_url is None:
            raise ValueError("check_updates needs updates_url")
        return self
