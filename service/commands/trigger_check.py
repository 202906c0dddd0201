"""What `doctor` says of triggers: each is asked for its picture."""

import asyncio
from importlib.metadata import version

from engine.images import ImageLimits, inspect
from service.clock import Clock
from service.errors import ConfigurationError, FrameError
from service.http.urls import origin
from service.settings import Settings
from service.trigger_settings import CAMERA, TriggerSettings
from service.triggers.snapshots import Snapshots
from service.triggers.tally import name_of

_Finding = tuple[str, bool, str]  # part, whether it is well, what to say


async def check_triggers(settings: Settings) -> list[_Finding]:
    """Ask each trigger's address once, so a wrong account costs one bad login."""
    limits = ImageLimits(**settings.frames.model_dump())
    try:
        snapshots = Snapshots(settings.triggers, limits, Clock(), version("moondream2mqtt"))
    except ConfigurationError as error:
        return [("triggers", False, str(error))]
    checks = [
        _check_trigger(number, each, snapshots, limits)
        for number, each in enumerate(settings.triggers)
    ]
    return await asyncio.gather(*checks)


async def _check_trigger(
    number: int, trigger: TriggerSettings, snapshots: Snapshots, limits: ImageLimits
) -> _Finding:
    part, camera_id = name_of(number), next(iter(trigger.named_cameras), None)
    if camera_id is None and CAMERA in trigger.url:
        return part, True, "not asked: only its messages say which camera"
    try:
        image = await snapshots.fetch(number, camera_id or "camera")
    except FrameError as error:
        return part, False, str(error)
    header = inspect(image, limits)
    size = f"{header.format} of {header.width} x {header.height}, {len(image)} bytes"
    return part, True, f"{origin(trigger.url)}, {size}"
