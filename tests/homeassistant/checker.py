"""Discovery messages and templates, judged by Home Assistant's own code.

Runs where `homeassistant` can be imported; see `tests.homeassistant.backport`. Beyond the schemas
it does what Home Assistant does when it adds an entity: unique ids that occur twice, categories
that are refused, units and classes that do not go together. A key that is only ignored counts as a
problem, and so does whatever is logged.
"""

import copy
import importlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from homeassistant.components.mqtt import discovery, schemas
from homeassistant.components.mqtt.const import ENTITY_PLATFORMS, SUPPORTED_COMPONENTS
from homeassistant.components.mqtt.models import MqttCommandTemplate, MqttValueTemplate
from homeassistant.components.sensor import const as sensor
from homeassistant.core import HomeAssistant
from homeassistant.helpers.template import Template


class _LogLines(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.name}: {record.getMessage()}")


@contextmanager
def logged() -> Iterator[list[str]]:
    """What Home Assistant says at `warning` or above."""
    handler = _LogLines()
    logger = logging.getLogger("homeassistant")
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield handler.lines
    finally:
        logger.removeHandler(handler)


def render_value(
    hass: HomeAssistant, template: str, payload: str, attributes: Mapping[str, Any]
) -> str:
    """What a value template makes of a payload; the entity has these attributes from before."""
    entity = SimpleNamespace(hass=hass, entity_id="sensor.any", name="Any")
    hass.states.async_set(entity.entity_id, "on", attributes)
    value_template = MqttValueTemplate(Template(template, hass), entity=entity)
    return str(value_template.async_render_with_possible_json_value(payload))


def render_command(hass: HomeAssistant, template: str, value: str) -> str:
    """What a command template makes of a value."""
    return str(MqttCommandTemplate(Template(template, hass)).async_render(value))


class MessageChecker:
    """Checks messages that are retained at the same time.

    Args:
        prefix: Home Assistant's discovery prefix.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = f"{prefix}/"
        self._unique_ids: dict[tuple[str, str], str] = {}
        self._problems: list[str] = []

    def check(self, topic: str, payload: str) -> list[str]:
        """Everything that is wrong with a message; none of it is fatal to the next one."""
        self._problems = []
        with logged() as lines:
            self._check(topic, payload)
        return self._problems + lines

    def _check(self, topic: str, payload: str) -> None:
        below = topic.removeprefix(self._prefix)
        match = discovery.TOPIC_MATCHER.fullmatch(below)
        if below == topic or not match:
            self._problems.append("not a discovery topic")
            return
        platform = match["component"]
        if platform != "device" and platform not in SUPPORTED_COMPONENTS:
            self._problems.append(f"unknown platform {platform!r}")
            return
        try:
            content = discovery.json_loads_object(payload)
        except ValueError as error:
            self._problems.append(f"not a JSON object: {error}")
            return
        message = discovery.MQTTDiscoveryPayload(content)
        discovery._replace_all_abbreviations(message)
        if platform == "device":
            self._check_device(message)
        else:
            self._collect("origin", schemas.MQTT_ORIGIN_INFO_SCHEMA, message.get("origin"))
            self._check_component(topic, platform, message, set(message))

    def _check_device(self, message: Any) -> None:
        if not self._collect("device", schemas.DEVICE_DISCOVERY_SCHEMA, copy.deepcopy(message)):
            return
        for key, component in message["components"].items():
            config = discovery.MQTTDiscoveryPayload(copy.deepcopy(component))
            platform = config.pop("platform")
            if not config:
                continue  # its platform alone: removes it
            own = set(config)
            config.update(device=message["device"], origin=message["origin"])
            discovery._merge_common_device_options(config, message)
            self._check_component(key, platform, config, own)

    def _check_component(self, key: str, platform: str, config: Any, own: set[str]) -> None:
        """Hold one component against its platform's schema; `own` are the keys it was given."""
        where = f"{key} ({platform})"
        module = importlib.import_module(f"homeassistant.components.mqtt.{platform}")
        result = self._collect(where, module.DISCOVERY_SCHEMA, dict(config))
        if result is None:
            return
        for name in sorted(own - set(result)):
            self._problems.append(f"{where}: Home Assistant ignores the key {name!r}")
        if "object_id" in own:
            self._problems.append(f"{where}: 'object_id' is going away")
        if platform in ENTITY_PLATFORMS:
            self._check_entity(where, platform, result)

    def _check_entity(self, where: str, platform: str, config: Mapping[str, Any]) -> None:
        """What Home Assistant looks at when it adds the entity."""
        unique_id = config.get("unique_id")
        if not unique_id:
            self._problems.append(f"{where}: no unique id")
        elif other := self._unique_ids.get((platform, unique_id)):
            self._problems.append(f"{where}: has the unique id of {other}")
        else:
            self._unique_ids[platform, unique_id] = where
        is_read = platform in ("sensor", "binary_sensor")
        if is_read and config.get("entity_category") == "config":
            self._problems.append(f"{where}: the category 'config' is refused")
        if platform == "sensor" and (device_class := config.get("device_class")):
            self._check_class(where, device_class, config)

    def _check_class(self, where: str, device_class: Any, config: Mapping[str, Any]) -> None:
        unit, state_class = config.get("unit_of_measurement"), config.get("state_class")
        units = sensor.DEVICE_CLASS_UNITS.get(device_class)
        classes = sensor.DEVICE_CLASS_STATE_CLASSES.get(device_class)
        if device_class in sensor.NON_NUMERIC_DEVICE_CLASSES and unit:
            self._problems.append(f"{where}: {device_class} has no unit")
        if units is not None and unit not in units:
            self._problems.append(f"{where}: {device_class} is not in {unit!r}")
        if state_class and classes is not None and state_class not in classes:
            self._problems.append(f"{where}: {device_class} is no {state_class}")

    def _collect(self, where: str, schema: Any, content: Any) -> Any:
        """What a schema makes of some content; None when it is refused, which is noted."""
        try:
            return schema(content)
        except Exception as error:  # noqa: BLE001 - of voluptuous, or anything a validator raises
            for each in getattr(error, "errors", None) or [error]:
                self._problems.append(f"{where}: {each}")
            return None
