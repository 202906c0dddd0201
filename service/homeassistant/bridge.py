"""The service itself as a device of Home Assistant: how it does, and its switches."""

from dataclasses import dataclass
from typing import get_args

from broker.topics import Topics
from schemas.frame import Priority
from schemas.status import ModelState
from service.homeassistant.device import BRIDGE, PROGRAM, Component, Components, Device, object_id
from service.homeassistant.templates import (
    HEALTH_ATTRIBUTES,
    MODEL_ATTRIBUTES,
    UPDATE,
    literal,
    of_document,
    of_gpu,
)
from service.homeassistant.words import Words

_MOST_OPTIONS = 100  # of the model: each is in the message twice
_MOST_STATE_CHARACTERS = 255


@dataclass(frozen=True, slots=True)
class BridgeFacts:
    """What the service knows of itself that decides what there is to show."""

    version: str
    gpus: tuple[str, ...]  #: names of NVIDIA devices, by number
    models: tuple[str, ...]  #: that can be loaded, and the present one
    check_updates: bool


def bridge_device(topics: Topics, words: Words, facts: BridgeFacts) -> Device:
    """The service with its entities.

    Args:
        topics: Ours.
        words: Names of entities.
        facts: What there is to show.
    """
    components = Components(object_id(topics, BRIDGE), PROGRAM, topics.bridge("state"))
    bridge = _Bridge(topics, words, components)
    bridge.add_state()
    bridge.add_queue()
    bridge.add_model(facts.models)
    for number in range(len(facts.gpus)):
        bridge.add_gpu(number, "GPU" if len(facts.gpus) == 1 else f"GPU {number}")
    bridge.add_version(check_updates=facts.check_updates)
    is_only_one = topics.base == PROGRAM
    return Device(
        object_id=components.object_id,
        about={
            "ids": [components.object_id],
            "name": PROGRAM if is_only_one else f"{PROGRAM} ({topics.base})",
            "mf": PROGRAM,
            "mdl": words.name("bridge"),
            "sw": facts.version,
        },
        components=components.by_key,
    )


class _Bridge:
    """Adds the entities of the service, kind by kind."""

    def __init__(self, topics: Topics, words: Words, components: Components) -> None:
        self._topics = topics
        self._words = words
        self._components = components
        self._stats = topics.bridge("stats")
        self._info = topics.bridge("info")

    def add_state(self) -> None:
        self._components.add_always_available(  # else it could never be seen off
            "connectivity",
            "binary_sensor",
            self._words.name("connectivity"),
            stat_t=self._topics.bridge("state"),
            pl_on="online",
            pl_off="offline",
            dev_cla="connectivity",
            ent_cat="diagnostic",
        )
        health = self._topics.bridge("health")
        self._add(
            "problem",
            "binary_sensor",
            stat_t=health,
            val_tpl=of_document(
                "('OFF' if d.status == 'healthy' else 'ON') if d.status is string else None"
            ),
            json_attr_t=health,
            json_attr_tpl=HEALTH_ATTRIBUTES,
            dev_cla="problem",
            ent_cat="diagnostic",
        )

    def add_queue(self) -> None:
        self._add_figure("queue_size", "d.get('queue_size')", ic="mdi:tray-full", sug_dsp_prc=0)
        for priority in reversed(Priority):
            self._add_figure(
                f"queue_{priority.wire}",
                f"d.get('queue_by_priority', {{}}).get('{priority.wire}', 0) if d else None",
                ic="mdi:tray",
                sug_dsp_prc=0,
            )
        self._add_figure(
            "captions_per_minute",
            "d.get('captions_per_minute')",
            unit_of_meas="/min",
            ic="mdi:speedometer",
            sug_dsp_prc=1,
        )
        for share in ("p50", "p95"):
            self._add_figure(
                f"latency_{share}",
                f"d.latency_overall.{share} if d.latency_overall is mapping else None",
                dev_cla="duration",
                unit_of_meas="s",
                sug_dsp_prc=1,
            )
        self._add(
            "processing",
            "switch",
            stat_t=self._stats,
            val_tpl=of_document("{true: 'ON', false: 'OFF'}.get(d.get('processing'))"),
            cmd_t=self._topics.request("queue/processing"),
            ic="mdi:play-pause",
        )
        self._add_button("clear_queue", "queue/clear", "mdi:tray-remove")

    def add_model(self, models: tuple[str, ...]) -> None:
        self._add(
            "model_state",
            "sensor",
            stat_t=self._info,
            val_tpl=of_document("d.model.state if d.model is mapping else None"),
            json_attr_t=self._info,
            json_attr_tpl=MODEL_ATTRIBUTES,
            dev_cla="enum",
            ops=list(get_args(ModelState)),
            ent_cat="diagnostic",
            ic="mdi:brain",
        )
        options = [name for name in dict.fromkeys(models) if len(name) <= _MOST_STATE_CHARACTERS]
        if options := options[:_MOST_OPTIONS]:
            self._add_model_choice(options)
        self._add_button("load_model", "model/load", "mdi:upload")
        self._add_button("unload_model", "model/unload", "mdi:eject")

    def _add_model_choice(self, options: list[str]) -> None:
        # A name that is no option would be an error in Home Assistant's log until the next message.
        known = ", ".join(map(literal, options))
        self._add(
            "model",
            "select",
            stat_t=self._info,
            val_tpl=of_document(
                f"d.model.name if d.model is mapping and d.model.name in [{known}] else None"
            ),
            cmd_t=self._topics.request("model/load"),
            cmd_tpl="{{ {'model': value} | to_json }}",
            ops=options,
            ent_cat="config",
            ic="mdi:brain",
        )

    def add_gpu(self, number: int, name: str) -> None:
        percent: Component = {"unit_of_meas": "%", "sug_dsp_prc": 0}
        figures: dict[str, tuple[str, Component]] = {
            "load": (
                "g.utilization.gpu if g.utilization is mapping else None",
                {**percent, "ic": "mdi:expansion-card"},
            ),
            "memory": (
                "(g.memory.used / g.memory.total * 100) | round(1)"
                " if g.memory is mapping and g.memory.total else None",
                {**percent, "ic": "mdi:memory"},
            ),
            "temperature": (
                "g.get('temperature')",
                {"dev_cla": "temperature", "unit_of_meas": "°C", "sug_dsp_prc": 0},
            ),
            "power": (
                "g.get('power')",
                {"dev_cla": "power", "unit_of_meas": "W", "sug_dsp_prc": 0},
            ),
        }
        for figure, (expression, details) in figures.items():
            self._components.add(
                f"gpu_{number}_{figure}",
                "sensor",
                self._words.name(f"gpu_{figure}", gpu=name),
                stat_t=self._topics.bridge("metrics"),
                val_tpl=of_gpu(number, expression),
                stat_cla="measurement",
                ent_cat="diagnostic",
                **details,
            )

    def add_version(self, *, check_updates: bool) -> None:
        self._add(
            "version",
            "sensor",
            stat_t=self._info,
            val_tpl=of_document("d.get('version')"),
            ent_cat="diagnostic",
            ic="mdi:tag",
        )
        if check_updates:
            self._add(
                "update",
                "update",
                stat_t=self._topics.bridge("update"),
                val_tpl=UPDATE,
                dev_cla="firmware",
                ent_cat="diagnostic",
            )

    def _add_figure(self, key: str, expression: str, **details: object) -> None:
        self._add(
            key,
            "sensor",
            stat_t=self._stats,
            val_tpl=of_document(expression),
            stat_cla="measurement",
            ent_cat="diagnostic",
            **details,
        )

    def _add_button(self, key: str, operation: str, icon: str) -> None:
        self._add(
            key,
            "button",
            cmd_t=self._topics.request(operation),
            pl_prs="{}",
            ent_cat="config",
            ic=icon,
        )

    def _add(self, key: str, platform: str, **details: object) -> None:
        self._components.add(key, platform, self._words.name(key), **details)
