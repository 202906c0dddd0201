"""A real Home Assistant core that does what it is told, one JSON object a line.

It runs in an environment of its own and knows nothing of ours:

    python home_assistant.py CONFIGURATION_DIRECTORY BROKER [ACTION]...

BROKER is JSON: `broker`, `port`, and `username` and `password` where it wants them. A line on
standard input is `{"do": NAME, ...}` (see `COMMANDS`), its answer one line on standard output,
`{"value": ...}` or `{"error": "..."}`; the first answer says that Home Assistant is up. The end of
standard input stops it. Nothing is loaded but MQTT, automations and what these depend on, and
nothing is installed. The directory is kept, so that the next start on it is a restart.
"""

import asyncio
import hashlib
import json
import logging
import os
import shutil
import socket
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from homeassistant import bootstrap, const, runner
from homeassistant.core import CoreState, Event, HomeAssistant, ServiceCall, callback
from homeassistant.helpers import device_registry, entity_registry
from homeassistant.helpers.template import Template

Answer = Callable[[dict[str, Any]], None]

_ENTRY_ID = "0123456789abcdef0123456789abcdef"
_LONGEST_LINE = 1 << 24
_AUTOMATIONS = "automations.yaml"
_CONFIGURATION = """\
homeassistant:
  name: test
  latitude: 0
  longitude: 0
  elevation: 0
  unit_system: metric
  time_zone: UTC
  auth_mfa_modules: []
  packages: !include_dir_named packages
  media_dirs:
    local: {media}
http:
  server_host: 127.0.0.1
  server_port: {http_port}
automation: !include automations.yaml
"""


def main() -> None:
    """Run until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else prints, prints to the log
    directory, broker, actions = Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3:]
    write_configuration(directory, broker)

    def answer(document: dict[str, Any]) -> None:
        answers.write(json.dumps(document) + "\n")
        answers.flush()

    asyncio.run(run(directory, actions, answer))


def write_configuration(directory: Path, broker: dict[str, Any]) -> None:
    """Prepare a directory; what Home Assistant has kept in it stays."""
    media = directory / "media"
    media.mkdir(exist_ok=True)
    text = _CONFIGURATION.format(http_port=_free_port(), media=json.dumps(str(media)))
    (directory / "configuration.yaml").write_text(text, encoding="utf-8")
    if not (directory / _AUTOMATIONS).exists():
        _write_automations(directory, [])
    entries = directory / ".storage" / "core.config_entries"
    if not entries.exists():
        entries.parent.mkdir(parents=True, exist_ok=True)
        entries.write_text(json.dumps(_config_entries(broker)), encoding="utf-8")


def _write_automations(directory: Path, automations: list[dict[str, Any]]) -> None:
    (directory / _AUTOMATIONS).write_text(json.dumps(automations), encoding="utf-8")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _config_entries(broker: dict[str, Any]) -> dict[str, Any]:
    """What setting MQTT up in the user interface would have stored."""
    entry = {
        "entry_id": _ENTRY_ID,
        "version": 1,
        "minor_version": 1,
        "domain": "mqtt",
        "title": "broker",
        "data": {**broker, "discovery": True},
        "options": {},
        "pref_disable_new_entities": False,
        "pref_disable_polling": False,
        "source": "user",
        "unique_id": None,
        "disabled_by": None,
    }
    return {
        "version": 1,
        "minor_version": 1,
        "key": "core.config_entries",
        "data": {"entries": [entry]},
    }


@dataclass(frozen=True)
class LogLine:
    """A warning or an error."""

    level: str
    logger: str
    message: str
    exception: str


class LogCollector(logging.Handler):
    """Keeps warnings and errors."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[LogLine] = []

    def emit(self, record: logging.LogRecord) -> None:
        raised = repr(record.exc_info[1]) if record.exc_info and record.exc_info[1] else ""
        line = LogLine(record.levelname, record.name, record.getMessage(), raised)
        self.lines.append(line)


async def run(directory: Path, actions: list[str], answer: Answer) -> None:
    """Start Home Assistant, obey, and stop it.

    Args:
        directory: With its configuration.
        actions: Registered before automations run, see `Driver.register`.
        answer: Writes an answer.
    """
    # Only what MQTT and automations need: no user interface, no helpers, no cloud.
    bootstrap.DEFAULT_INTEGRATIONS = set()
    bootstrap.CRITICAL_INTEGRATIONS = set()
    collector = LogCollector()
    logging.getLogger().addHandler(collector)
    config = runner.RuntimeConfig(config_dir=str(directory), skip_pip=True, log_no_color=True)
    hass = await bootstrap.async_setup_hass(config)
    if hass is None:
        raise RuntimeError("Home Assistant did not start; its log says why")
    driver = Driver(hass, collector)
    try:
        for action in actions:
            await driver.register(action)
        await hass.async_start()
        if hass.state is not CoreState.running or not hass.config_entries.async_entries("mqtt"):
            raise RuntimeError("Home Assistant runs without MQTT; its log says why")
        answer({"value": const.__version__})
        await _obey(driver, answer)
    finally:
        await hass.async_stop(force=True)


async def _obey(driver: "Driver", answer: Answer) -> None:
    reader = asyncio.StreamReader(limit=_LONGEST_LINE)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        order = json.loads(line)
        try:
            value = await COMMANDS[order.pop("do")](driver, **order)
            # Through JSON here, so that what cannot be said is the answer's error.
            answer({"value": json.loads(json.dumps(value, default=str))})
        except Exception as error:  # noqa: BLE001 - the test that asked hears of it
            answer({"error": f"{type(error).__name__}: {error}"})


class Driver:
    """What can be asked of a running Home Assistant."""

    def __init__(self, hass: HomeAssistant, collector: LogCollector) -> None:
        self.hass = hass
        self._collector = collector
        self._calls: list[dict[str, Any]] = []

    async def states(self) -> dict[str, Any]:
        """All states with their attributes, by entity id."""
        return {
            state.entity_id: {"state": state.state, "attributes": dict(state.attributes)}
            for state in self.hass.states.async_all()
        }

    async def entities(self) -> list[dict[str, Any]]:
        """What the registry knows of MQTT's, disabled ones included."""
        registry = entity_registry.async_get(self.hass)
        return [
            {
                "entity_id": entry.entity_id,
                "unique_id": entry.unique_id,
                "platform": entry.domain,
                "name": entry.original_name,
                "category": entry.entity_category,
                "device_class": entry.original_device_class,
                "unit": entry.unit_of_measurement,
                "icon": entry.original_icon,
                "disabled": entry.disabled_by is not None,
                "device_id": entry.device_id,
            }
            for entry in registry.entities.values()
            if entry.platform == "mqtt"
        ]

    async def devices(self) -> list[dict[str, Any]]:
        """All devices; `identifiers` and `via_device` without the integration's name."""
        registry = device_registry.async_get(self.hass)
        found = []
        for device in registry.devices.values():
            parent = registry.async_get(device.via_device_id) if device.via_device_id else None
            found.append(
                {
                    "id": device.id,
                    "name": device.name,
                    "identifiers": _identifiers(device),
                    "via_device": _identifiers(parent) if parent else [],
                    "manufacturer": device.manufacturer,
                    "model": device.model,
                    "sw_version": device.sw_version,
                }
            )
        return found

    async def picture(self, entity_id: str) -> dict[str, Any] | None:
        """The bytes that an image entity holds, as their SHA-256 and number."""
        entity = self.hass.data["image"].get_entity(entity_id)
        image = await entity.async_image() if entity else None
        if image is None:
            return None
        return {"sha256": hashlib.sha256(image).hexdigest(), "bytes": len(image)}

    async def call(self, action: str, data: dict[str, Any]) -> None:
        """Call an action (`domain.service`) and wait for its end."""
        domain, _, name = action.partition(".")
        await self.hass.services.async_call(domain, name, data, blocking=True)

    async def ask(self, action: str, data: dict[str, Any]) -> Any:
        """Call an action that answers."""
        domain, _, name = action.partition(".")
        return await self.hass.services.async_call(
            domain, name, data, blocking=True, return_response=True
        )

    async def set_up(self, domain: str, answers: dict[str, Any]) -> str:
        """Set an integration up as in the user interface; returns the id of its entry."""
        flows = self.hass.config_entries.flow
        result = await flows.async_init(domain, context={"source": "user"}, data=answers)
        if result["type"] != "create_entry":
            raise RuntimeError(f"{domain} is not set up: {result}")
        await self.hass.async_block_till_done()
        return str(result["result"].entry_id)

    async def add_subentry(
        self, entry_id: str, kind: str, answers: dict[str, Any], shown: str
    ) -> list[Any]:
        """Add to an entry as in the user interface.

        Args:
            entry_id: Of `set_up`.
            kind: Of the part, e.g. `ai_task_data`.
            answers: To the form.
            shown: A field of the form.

        Returns:
            What could be chosen for `shown`: label and value of each.
        """
        flows = self.hass.config_entries.subentries
        form = await flows.async_init((entry_id, kind), context={"source": "user"})
        choices = next(
            field.config["options"]
            for name, field in form["data_schema"].schema.items()
            if name == shown
        )
        result = await flows.async_configure(form["flow_id"], answers)
        if result["type"] != "create_entry":
            raise RuntimeError(f"{kind} is not added: {result}")
        await self.hass.async_block_till_done()
        return list(choices)

    async def until(self, condition: str, seconds: float) -> None:
        """Wait until an expression of its templates is true, e.g. `is_state('sun.sun', 'up')`.

        Raises:
            TimeoutError: It is not, after so many seconds.
        """
        template = Template(f"{{{{ {condition} }}}}", self.hass)
        changed = asyncio.Event()

        def on_event(_: Event) -> None:
            changed.set()

        forget = self.hass.bus.async_listen("state_changed", callback(on_event))
        try:
            await asyncio.wait_for(_until(template, changed), seconds)
        except TimeoutError:
            raise TimeoutError(f"not so after {seconds:g} s: {condition}") from None
        finally:
            forget()

    async def render(self, template: str) -> Any:
        """What a template gives."""
        return Template(template, self.hass).async_render(parse_result=True)

    async def enable(self, entity_id: str) -> None:
        """Enable an entity that came disabled; it is there after the next start."""
        registry = entity_registry.async_get(self.hass)
        registry.async_update_entity(entity_id, disabled_by=None)

    async def remove_device(self, identifier: str) -> None:
        """Remove a device."""
        registry = device_registry.async_get(self.hass)
        device = registry.async_get_device(identifiers={("mqtt", identifier)})
        registry.async_remove_device(device.id)

    async def register(self, action: str) -> None:
        """Make an action that only keeps its calls, e.g. `notify.mobile_app_phone`."""
        domain, _, name = action.partition(".")

        async def keep(call: ServiceCall) -> None:
            kept = {"action": action, "at": self.hass.loop.time(), "data": dict(call.data)}
            self._calls.append(kept)

        self.hass.services.async_register(domain, name, keep)

    async def calls(self) -> list[dict[str, Any]]:
        """The calls of registered actions since this was asked last; `at` in seconds."""
        calls, self._calls = self._calls, []
        return calls

    async def blueprint(self, path: str) -> str:
        """Copy a blueprint for automations; returns its path as `use_blueprint` takes it.

        Args:
            path: Of the file; the folder it is in stands in the name.
        """
        source = Path(path)
        name = f"{source.parent.name}/{source.name}"
        target = Path(self.hass.config.path("blueprints", "automation", name))
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
        return name

    async def automations(self, automations: list[dict[str, Any]]) -> list[str]:
        """Replace all automations; returns the entity ids of those that run.

        Args:
            automations: As in `automations.yaml`, each with an `id`.
        """
        _write_automations(Path(self.hass.config.config_dir), automations)
        await self.hass.services.async_call("automation", "reload", {}, blocking=True)
        return [
            state.entity_id
            for state in self.hass.states.async_all("automation")
            if state.state == "on"
        ]

    async def log(self) -> list[dict[str, str]]:
        """Warnings and errors since this was asked last."""
        lines, self._collector.lines = self._collector.lines, []
        return [asdict(line) for line in lines]


async def _until(template: Template, changed: asyncio.Event) -> None:
    while not template.async_render(parse_result=True):
        changed.clear()
        try:
            # Registries and clocks change without a change of a state.
            await asyncio.wait_for(changed.wait(), 0.25)
        except TimeoutError:
            continue


def _identifiers(device: Any) -> list[str]:
    return sorted(identifier for _, identifier in device.identifiers)


COMMANDS: dict[str, Callable[..., Awaitable[Any]]] = {
    "states": Driver.states,
    "entities": Driver.entities,
    "devices": Driver.devices,
    "picture": Driver.picture,
    "call": Driver.call,
    "ask": Driver.ask,
    "set_up": Driver.set_up,
    "add_subentry": Driver.add_subentry,
    "until": Driver.until,
    "render": Driver.render,
    "enable": Driver.enable,
    "remove_device": Driver.remove_device,
    "register": Driver.register,
    "calls": Driver.calls,
    "blueprint": Driver.blueprint,
    "automations": Driver.automations,
    "log": Driver.log,
}

if __name__ == "__main__":
    main()
