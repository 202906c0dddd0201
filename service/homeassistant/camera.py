"""A camera as a device of Home Assistant: what was captioned, and its settings as entities."""

from broker.topics import Topics
from schemas.camera import CameraSettings
from schemas.frame import Length, Priority, TaskKind
from service.homeassistant.device import (
    BRIDGE,
    PROGRAM,
    Component,
    Components,
    Device,
    object_id,
    unique_slugs,
)
from service.homeassistant.templates import (
    CAPTION_ATTRIBUTES,
    CAPTIONED_EVENT,
    literal,
    of_document,
    of_result,
    percent,
)
from service.homeassistant.words import Words

_COUNT = "count"
_MOST_LABEL_CHARACTERS = 64  # in a name

# With these, `count_<slug>` of the camera `x` would be the unique id of `x_count`'s own sensor.
_SENSORS = frozenset(
    {"caption", "confidence", "processing_time", "motion_intensity", "priority", "last_seen"}
)


def camera_device(
    topics: Topics,
    words: Words,
    camera_id: str,
    settings: CameraSettings,
    *,
    version: str,
    is_in_file: bool,
) -> Device:
    """A camera with its entities.

    Args:
        topics: Ours.
        words: Names of entities.
        camera_id: Which.
        settings: The effective ones, which decide what there is to show.
        version: Of the service.
        is_in_file: It cannot be forgotten.
    """
    components = Components(object_id(topics, camera_id), camera_id, topics.bridge("state"))
    camera = _Camera(topics, words, camera_id, components)
    camera.add_caption()
    if settings.publish_image:
        camera.add_image()
    camera.add_measurements()
    for label, key in _counts(settings).items():
        camera.add_count(label, key)
    camera.add_texts_and_choices()
    camera.add_switches_and_numbers()
    if settings.snapshot_url:
        camera.add_describe()
    if not is_in_file:
        camera.add_forget()
    return Device(
        object_id=components.object_id,
        about={
            "ids": [components.object_id],
            "name": _name(camera_id, settings),
            "mf": PROGRAM,
            "mdl": words.name("camera"),
            "sw": version,
            "via_device": object_id(topics, BRIDGE),
        },
        components=components.by_key,
    )


def _name(camera_id: str, settings: CameraSettings) -> str:
    if settings.location and (location := _in_one_line(settings.location)):
        return location
    name = _in_one_line(camera_id.replace("_", " ")) or camera_id
    return name[:1].upper() + name[1:]


def _in_one_line(text: str) -> str:
    return " ".join(text.split())


def _counts(settings: CameraSettings) -> dict[str, str]:
    """The keys of what is counted, by label."""
    labels = [task.text for task in settings.tasks if task.kind is TaskKind.DETECT]
    return {label: f"{_COUNT}_{short}" for label, short in unique_slugs(labels, _clashes).items()}


def _clashes(short: str) -> bool:
    return short in _SENSORS or short.startswith(f"{_COUNT}_")


class _Camera:
    """Adds the entities of one camera, kind by kind."""

    def __init__(
        self, topics: Topics, words: Words, camera_id: str, components: Components
    ) -> None:
        self._topics = topics
        self._words = words
        self._camera_id = camera_id
        self._components = components
        self._caption = topics.caption(camera_id)

    def add_caption(self) -> None:
        self._add(
            "caption",
            "sensor",
            stat_t=self._caption,
            # "None", which answers can be, would be shown as unknown.
            val_tpl=of_result(
                "('none' if r.short_caption == 'None' else r.short_caption[:255])"
                " if r.short_caption is string else None"
            ),
            json_attr_t=self._caption,
            json_attr_tpl=CAPTION_ATTRIBUTES,
            frc_upd=True,  # the same words again are news: somebody is still there
            ic="mdi:image-text",
        )
        self._add(
            "captioned",
            "event",
            stat_t=self._caption,
            val_tpl=CAPTIONED_EVENT,
            evt_typ=["captioned"],
            ic="mdi:message-image",
        )

    def add_image(self) -> None:
        self._add(
            "image", "image", img_t=self._topics.image(self._camera_id), cont_type="image/jpeg"
        )

    def add_measurements(self) -> None:
        share: Component = {"unit_of_meas": "%", "stat_cla": "measurement", "sug_dsp_prc": 0}
        intensity = percent("r.model_info.motion_intensity")
        self._add_figure("confidence", percent("r.confidence"), ic="mdi:percent", **share)
        self._add_figure(
            "processing_time",
            "r.processing_time if r.processing_time is number else None",
            dev_cla="duration",
            unit_of_meas="s",
            stat_cla="measurement",
            sug_dsp_prc=1,
        )
        self._add_figure(
            "motion_intensity",
            f"({intensity}) if r.model_info is mapping else None",
            ic="mdi:motion-sensor",
            **share,
        )
        self._add_figure(
            "priority",
            "r.model_info.priority if r.model_info is mapping else None",
            dev_cla="enum",
            ops=_priorities(),
            ic="mdi:priority-high",
        )
        self._add_figure(
            "last_seen",
            "(d.get('taken_at') or d.get('timestamp')) if r else None",
            dev_cla="timestamp",
        )

    def add_count(self, label: str, key: str) -> None:
        """How often a label was found; 0 where the frame asked for other things."""
        found = f"r.get('objects', []) | selectattr('label', 'eq', {literal(label)})"
        self._components.add(
            key,
            "sensor",
            self._words.name(_COUNT, label=_in_one_line(label[:_MOST_LABEL_CHARACTERS])),
            stat_t=self._caption,
            val_tpl=of_result(
                f"({found} | map(attribute='count') | max | default(0)) if r else None"
            ),
            stat_cla="measurement",
            ic="mdi:counter",
        )

    def add_texts_and_choices(self) -> None:
        for name, icon in {"prompt": "mdi:comment-question", "location": "mdi:map-marker"}.items():
            # Longer ones are set by request, and shown as far as a state goes.
            shown = of_document(f"(d.get('{name}') or '')[:255]")
            self._add_setting(name, "text", val_tpl=shown, max=255, ic=icon)
        lengths = [length.value for length in Length]
        self._add_setting("length", "select", ops=lengths, ic="mdi:text-long")
        self._add_setting("min_priority", "select", ops=_priorities(), ic="mdi:filter")

    def add_switches_and_numbers(self) -> None:
        for name, icon in {
            "enabled": "mdi:cctv",
            "newest_wins": "mdi:fast-forward",
            "publish_image": "mdi:image-move",
        }.items():
            shown = of_document(f"{{true: 'ON', false: 'OFF'}}.get(d.get('{name}'))")
            self._add_setting(name, "switch", val_tpl=shown, ic=icon)
        self._add_setting(
            "cooldown",
            "number",
            dev_cla="duration",
            unit_of_meas="s",
            min=0,
            max=86400,
            step=1,
            mode="box",
        )
        self._add_setting(
            "min_intensity", "number", min=0, max=1, step=0.05, mode="slider", ic="mdi:filter"
        )

    def add_describe(self) -> None:
        self._add_button("describe", "mdi:camera-iris")

    def add_forget(self) -> None:
        # Disabled until somebody wants it: nothing of the camera is left afterwards.
        self._add_button("forget", "mdi:delete", ent_cat="config", en=False)

    def _add_figure(self, key: str, expression: str, **details: object) -> None:
        self._add(
            key,
            "sensor",
            stat_t=self._caption,
            val_tpl=of_result(expression),
            ent_cat="diagnostic",
            **details,
        )

    def _add_setting(self, name: str, platform: str, **details: object) -> None:
        details.setdefault("val_tpl", of_document(f"d.get('{name}')"))
        self._add(
            name,
            platform,
            stat_t=self._topics.settings(self._camera_id),
            cmd_t=self._topics.of_camera(self._camera_id, f"set/{name}"),
            ent_cat="config",
            **details,
        )

    def _add_button(self, key: str, icon: str, **details: object) -> None:
        self._add(
            key,
            "button",
            cmd_t=self._topics.request(f"camera/{key}"),
            pl_prs=f'{{"camera_id":"{self._camera_id}"}}',  # an id needs no quoting
            ic=icon,
            **details,
        )

    def _add(self, key: str, platform: str, **details: object) -> None:
        self._components.add(key, platform, self._words.name(key), **details)


def _priorities() -> list[str]:
    return [priority.wire for priority in Priority]
