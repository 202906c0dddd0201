"""All that is looked at before the first start, in the order of the report.

What `serve` refuses or warns of when it starts comes from `service.startup`, for both.
"""

from collections.abc import Callable, Iterator
from functools import partial
from math import inf
from pathlib import Path

from service.commands.checks.broker import check_broker
from service.commands.checks.engine import check_engines
from service.commands.checks.finding import Finding
from service.commands.checks.frigate import check_frigate
from service.commands.checks.gateway import check_gateway
from service.commands.checks.measure import measure
from service.commands.checks.places import check_folders, check_hosts
from service.commands.checks.report import Check, in_thread
from service.commands.checks.storage import check_disk, check_store
from service.commands.checks.triggers import check_triggers
from service.settings import Settings
from service.startup import doubts, refusals

_CHILD_S = 300.0  # importing torch from a cold, slow disk
_NETWORK_S = 60.0
_DISK_S = 20.0


def checks_of(settings: Settings, config: Path | None) -> Iterator[Check]:
    """Everything but what takes the model itself."""
    refused = partial(_refusals, settings, config)
    yield Check("configuration", _DISK_S, partial(in_thread, refused))
    yield Check("configuration", _DISK_S, partial(in_thread, partial(_doubts, settings)))
    yield Check("broker", _NETWORK_S, partial(check_broker, settings))
    yield Check("device", _CHILD_S, partial(check_engines, settings))
    yield Check("disk", _DISK_S, partial(in_thread, partial(check_disk, settings)))
    yield Check("store", _NETWORK_S, partial(check_store, settings))
    yield Check("folders", _DISK_S, partial(in_thread, partial(check_folders, settings)))
    yield Check("hosts", _NETWORK_S, partial(check_hosts, settings))
    yield Check("frigate", _NETWORK_S, partial(check_frigate, settings))
    yield Check("http", _NETWORK_S, partial(check_gateway, settings))
    yield Check("triggers", _CHILD_S, partial(check_triggers, settings))


def measuring(settings: Settings, tell: Callable[[str], None]) -> Check:
    """Load the model; bounded by `model.load_timeout`, from sign of life to sign of life."""
    return Check("speed", inf, partial(measure, settings, tell))


def _refusals(settings: Settings, config: Path | None) -> list[Finding]:
    read = str(config) if config else "no file, defaults hold"
    refused = [Finding("configuration", "TODO", str(each)) for each in refusals(settings)]
    return [Finding("configuration", "ok", read), *refused]


def _doubts(settings: Settings) -> list[Finding]:
    return [Finding(each.setting, "note", each.text) for each in doubts(settings)]
