"""What `doctor` says of triggers: each is asked for its picture."""

import asyncio
from importlib.metadata import version

from engine.images import ImageLimits, inspect
from service.clock import Clock
from service.commands.checks.finding import Finding
from service.errors import FrameError
from service.http.urls import origin
from service.settings import Settings
from service.trigger_settings import CAMERA, TriggerSettings
from service.triggers.snapshots import Snapshots
from service.triggers.tally import name_of


async def check_triggers(settings: Settings) -> list[Finding]:
    """Ask each trigger's address once, so a wrong account costs one bad login."""
    limits = ImageLimits(**settings.frames.model_dump())
    snapshots = Snapshots(settings.triggers, limits, Clock(), version("moondream2mqtt"))
    checks = [
        _check_trigger(number, each, snapshots, limits)
        for number, each in enumerate(settings.triggers)
    ]
    return await asyncio.gather(*checks)


async def _check_trigger(
    number: int, trigger: TriggerSettings, snapshots: Snapshots, limits: ImageLimits
) -> Finding:
    part, camera_id = name_of(number), next(iter(trigger.named_cameras), None)
    if camera_id is None and CAMERA in trigger.url:
        return Finding(part, "ok", "not asked: only its messages say which camera")
    try:
        image = await snapshots.fetch(number, camera_id or "camera")
    except FrameError as error:
        return Finding(part, "TODO", f"{error}; see {part}.url and its auth")
    header = inspect(image, limits)
    size = f"{header.format} of {header.width} x {header.height}, {len(image)} bytes"
    return Finding(part, "ok", f"{origin(trigger.url)}, {size}")
