"""Which devices Home Assistant is to know, and the messages that tell it of each."""

from collections.abc import Mapping

from broker.topics import Topics
from service.cameras import Cameras
from service.homeassistant.bridge import BridgeFacts, bridge_device
from service.homeassistant.camera import camera_device
from service.homeassistant.device import BRIDGE, Device, object_id
from service.homeassistant.messages import component_messages, device_messages
from service.homeassistant.plan import components_of
from service.homeassistant.words import Words
from service.homeassistant_settings import HomeAssistantSettings

# Components of a device that are named as gone, 50 bytes each. Labels can change for ever, and a
# broker takes 2,000,000 bytes; of those that went long ago Home Assistant has heard.
_MOST_GONE = 100


class WantedDevices:
    """The service itself and the cameras it knows; nothing while `homeassistant.enabled` is off.

    Args:
        settings: Form, prefix and language.
        topics: Ours.
        cameras: The registry.
        facts: What the service shows of itself.
    """

    def __init__(
        self,
        settings: HomeAssistantSettings,
        topics: Topics,
        cameras: Cameras,
        facts: BridgeFacts,
    ) -> None:
        self.facts = facts
        self._settings = settings
        self._topics = topics
        self._cameras = cameras
        self._words = Words(settings.language)

    @property
    def bridge_id(self) -> str:
        """The object id of the service itself."""
        return object_id(self._topics, BRIDGE)

    def camera_object_id(self, camera_id: str) -> str:
        """The object id of a camera, known or not."""
        return object_id(self._topics, camera_id)

    def object_ids(self) -> list[str]:
        """All of them: the bridge first, as the cameras' devices name it, then by name."""
        if not self._settings.enabled:
            return []
        cameras = [self.camera_object_id(each.camera_id) for each in self._cameras.all()]
        return [self.bridge_id, *cameras]

    def messages(self, object_id: str, published: Mapping[str, bytes]) -> dict[str, bytes]:
        """The messages of a device by topic, all in one form; none where it is not wanted.

        Args:
            object_id: Of the device.
            published: What is published of it, by topic.
        """
        device = self._device(object_id) if self._settings.enabled else None
        if device is None:
            return {}
        prefix = self._settings.discovery_prefix
        if self._settings.discovery == "components":
            return component_messages(device, prefix)
        [(topic, payload)] = device_messages(device, prefix, gone={}).items()
        # Once published, named on: Home Assistant may have been off when it went.
        known = components_of(published.get(topic, b""))
        gone = [key for key in known if key not in device.components]  # the newest first
        if not gone:
            return {topic: payload}
        named = {key: known[key] for key in gone[:_MOST_GONE]}
        return device_messages(device, prefix, gone=named)

    def _device(self, object_id: str) -> Device | None:
        if object_id == self.bridge_id:
            return bridge_device(self._topics, self._words, self.facts)
        camera_id = object_id.removeprefix(self.camera_object_id(""))
        camera = self._cameras.get(camera_id)
        if camera is None or self.camera_object_id(camera_id) != object_id:
            return None
        return camera_device(
            self._topics,
            self._words,
            camera_id,
            camera.settings,
            version=self.facts.version,
            is_in_file=camera.is_in_file,
        )
