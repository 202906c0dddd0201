"""Every setting with the least and the greatest value it may have, found by introspection."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from schemas.camera import CameraSettings
from service.frigate_settings import FrigateCameraSettings
from service.settings import FolderSettings, Settings, SourceSettings
from service.trigger_settings import AuthSettings, TriggerSettings

CAMERA = "front"


@dataclass(frozen=True, slots=True)
class Numeric:
    """A setting that is a number."""

    path: str  #: as an operator writes it; `cameras.<id>` and `sources[]` stand for one of them
    kind: type
    least: float
    greatest: float


def leaves(path: str, field: FieldInfo) -> Iterator[tuple[str, FieldInfo]]:
    """The settings at and below a field, with their paths as an operator writes them."""
    children: dict[str, tuple[str, type[BaseModel]]] = {
        "cameras": ("cameras.<id>", CameraSettings),
        "sources": ("sources[]", SourceSettings),
        "triggers": ("triggers[]", TriggerSettings),
        "triggers[].auth": ("triggers[].auth", AuthSettings),
        "frigate.cameras": ("frigate.cameras.<id>", FrigateCameraSettings),
        "folders": ("folders[]", FolderSettings),
    }
    prefix, model = children.get(path, (path, field.annotation))
    if isinstance(model, type) and issubclass(model, BaseModel):
        for name, child in model.model_fields.items():
            yield from leaves(f"{prefix}.{name}", child)
    else:
        yield path, field


def every_leaf() -> Iterator[tuple[str, FieldInfo]]:
    for name, field in Settings.model_fields.items():
        yield from leaves(name, field)


def numerics() -> list[Numeric]:
    return [each for path, field in every_leaf() if (each := as_numeric(path, field)) is not None]


def numerics_of(model: type[BaseModel]) -> list[Numeric]:
    fields = model.model_fields.items()
    return [each for name, field in fields if (each := as_numeric(name, field)) is not None]


def as_numeric(path: str, field: FieldInfo) -> Numeric | None:
    kinds = [kind for kind in kinds_of(field.annotation) if kind in {int, float}]
    if not kinds:
        return None
    least, greatest = -math.inf, math.inf
    for bound in field.metadata:
        if isinstance(bound, Ge):
            least = bound.ge  # type: ignore[assignment]
        elif isinstance(bound, Gt):
            least = math.nextafter(bound.gt, math.inf)  # type: ignore[arg-type]
        elif isinstance(bound, Le):
            greatest = bound.le  # type: ignore[assignment]
        elif isinstance(bound, Lt):
            greatest = math.nextafter(bound.lt, -math.inf)  # type: ignore[arg-type]
    return Numeric(path, kinds[0], least, greatest)


def kinds_of(annotation: Any) -> Iterator[Any]:
    """The types a value may have, also inside lists and alternatives."""
    inner = get_args(annotation)
    if not inner:
        yield annotation
    for each in inner:
        yield from kinds_of(each)


def content_of(path: str, value: Any) -> dict[str, Any]:
    """The settings with one changed, as a file would say it."""
    head, *rest = path.split(".")
    if head == "sources[]":
        return {"sources": [{"topic": "bounds/{camera}/image", rest[0]: value}]}
    if head == "triggers[]":
        return {"triggers": [_trigger(rest, value)]}
    if head == "folders[]":
        path_and_camera = {"path": "/bounds", "camera": CAMERA, rest[0]: value}
        if rest[0] == "pattern":
            del path_and_camera["camera"]
        return {"folders": [path_and_camera]}
    keys = [head, *(CAMERA if key == "<id>" else key for key in rest)]
    content = value
    for key in reversed(keys):
        content = {key: content}
    return dict(content)


def _trigger(keys: list[str], value: Any) -> dict[str, Any]:
    trigger: dict[str, Any] = {"url": "http://127.0.0.1/"}
    if keys[0] != "topic":
        trigger |= {"every": 60}
    if keys[0] != "camera":
        trigger |= {"camera": CAMERA}
    account = {"username": "u", "password": "p"} if keys[-1] != "token" else {}
    inside = {"auth": {"type": "basic" if account else "bearer", **account}}
    if len(keys) > 1:
        trigger[keys[0]] = {**inside.get(keys[0], {}), keys[1]: value}
    else:
        trigger[keys[0]] = value
    return trigger
