"""`doctor`: each part of a set-up, with what to do where it would not work.

What `serve` looks at when it starts is looked at here by the same functions, so that both say the
same; see `service.startup` and `service.commands.checks`.
"""

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from service.commands.checks.broker import check_broker
from service.commands.checks.engine import check_engines
from service.commands.checks.finding import Finding
from service.commands.checks.frigate import check_frigate
from service.commands.checks.measure import measure
from service.commands.checks.places import check_folders, check_hosts
from service.commands.checks.report import Check, Report, in_thread
from service.commands.checks.running import check_running
from service.commands.checks.storage import check_disk, check_store
from service.commands.checks.triggers import check_triggers
from service.commands.options import ConfigOption
from service.configuration import load_settings
from service.errors import ConfigurationError
from service.settings import Settings
from service.startup import doubts, refusals

_CHILD_S = 300.0  # importing torch from a cold, slow disk
_BROKER_S = 60.0
_HOSTS_S = 60.0
_DISK_S = 20.0
_RUNNING_S = 15.0


def run(
    running: Annotated[
        bool,
        typer.Option(
            "--running",
            help="Only ask the broker whether the service is online and can do its job; for "
            "health checks.",
        ),
    ] = False,
    measured: Annotated[
        bool,
        typer.Option(
            "--measure",
            help="Also load the model as serve would, and say what a frame takes here.",
        ),
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Check all that serve needs: settings, broker, rights, model, device, disk, store, hosts.

    One line for each: ok, note where something limps, TODO where something is to be done, with what
    to do. Exits 1 where there is a TODO, 2 where the settings cannot be read.
    """
    report = Report()
    try:
        settings = load_settings(config)
    except ConfigurationError as error:
        report.add(Finding("configuration", "TODO", str(error)))
        raise typer.Exit(2) from error
    if running:
        checks = [Check("service", _RUNNING_S, partial(check_running, settings))]
    else:
        _look_at_settings(settings, config, report)
        checks = list(_checks(settings))
    if measured:
        checks.append(_measuring(settings, report))
    asyncio.run(report.run(checks))
    if not report.is_ok:
        raise typer.Exit(1)


def _look_at_settings(settings: Settings, config: Path | None, report: Report) -> None:
    report.add(Finding("configuration", "ok", str(config) if config else "no file, defaults hold"))
    for refusal in refusals(settings):
        report.add(Finding("configuration", "TODO", str(refusal)))
    for doubt in doubts(settings):
        report.add(Finding(doubt.setting, "note", doubt.text))


def _checks(settings: Settings) -> Iterator[Check]:
    yield Check("broker", _BROKER_S, partial(check_broker, settings))
    yield Check("device", _CHILD_S, partial(check_engines, settings))
    yield Check("disk", _DISK_S, partial(in_thread, partial(check_disk, settings)))
    yield Check("store", _DISK_S, partial(check_store, settings))
    yield Check("folders", _DISK_S, partial(in_thread, partial(check_folders, settings)))
    yield Check("hosts", _HOSTS_S, partial(check_hosts, settings))
    yield Check("frigate", _HOSTS_S, partial(check_frigate, settings))
    yield Check("triggers", _CHILD_S, partial(check_triggers, settings))


def _measuring(settings: Settings, report: Report) -> Check:
    # Bounded by model.load_timeout, from sign of life to sign of life.
    return Check("speed", float("inf"), partial(measure, settings, report.tell))
