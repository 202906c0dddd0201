"""`doctor`: each part of a set-up, with what to do where it would not work.

What `serve` looks at when it starts is looked at here by the same functions, so that both say the
same; see `service.commands.checks`.
"""

import asyncio
from functools import partial
from importlib import import_module
from typing import Annotated

import typer

from service.commands.checks.finding import Finding
from service.commands.checks.report import Check, Report
from service.commands.checks.running import check_running
from service.commands.options import CommonOptions, talks_to_broker
from service.errors import ConfigurationError

_RUNNING_S = 15.0


@talks_to_broker
def run(
    common: CommonOptions,
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
) -> None:
    """Check all that serve needs: settings, broker, rights, model, device, disk, store, hosts.

    One line for each: ok, note where something limps, TODO where something is to be done, with what
    to do. Exits 1 where there is a TODO, 2 where the settings cannot be read.
    """
    report = Report()
    try:
        settings = common.settings(is_silent=True)
    except ConfigurationError as error:
        report.add(Finding("configuration", "TODO", str(error)))
        raise typer.Exit(2) from error
    if running:
        checks = [Check("service", _RUNNING_S, partial(check_running, settings))]
    else:
        # Not loaded for a health check, which is made every half minute: most of a second.
        setup = import_module("service.commands.checks.setup")
        checks = [*setup.checks_of(settings, common.file())]
        checks += [setup.measuring(settings, report.tell)] if measured else []
    asyncio.run(report.run(checks))
    if not report.is_ok:
        raise typer.Exit(1)
