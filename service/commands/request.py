"""`request`: ask a running service, or order something, over MQTT."""

import asyncio
from typing import Annotated

import typer

from schemas.requests.table import TABLE
from service.commands.ask import ask
from service.commands.catalogue import describe, operations_named
from service.commands.completion import complete_operation, complete_word
from service.commands.options import CommonOptions, talks_to_broker
from service.commands.terminal import as_json
from service.commands.words import read_words


@talks_to_broker
def run(
    common: CommonOptions,
    operation: Annotated[
        str | None,
        typer.Argument(
            metavar="[OPERATION]",
            help="What to ask or order, e.g. job/list.",
            autocompletion=complete_operation,
        ),
    ] = None,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FIELD=VALUE...]",
            help="The request: its fields, e.g. status=failed limit=10. A list, a number, true, "
            "false or null is JSON; @FILE stands for what is in a file, a picture as base64. Or "
            "the bare value of its one required field, or all as one JSON object, or @FILE with "
            "one.",
            autocompletion=complete_word,
        ),
    ] = None,
    show_list: Annotated[
        bool,
        typer.Option(
            "--list",
            help="Print every operation with its fields and end; with OPERATION, or a group such "
            "as job, only those.",
        ),
    ] = False,
    timeout: Annotated[
        float,
        typer.Option(
            min=0.1, max=86_400, metavar="SECONDS", help="How long to wait for the answer."
        ),
    ] = 65.0,  # what waits for a caption is answered within 60 s
) -> None:
    """Ask a running service, or order something, and print the answer as JSON.

    An error that the service answers is one line on stderr, and so is a service that is not online:
    then nothing is sent.
    """
    chosen = operations_named(operation)
    if not chosen or (operation is None and not show_list):
        known = ", ".join(each.name for each in TABLE)
        raise typer.BadParameter(f"must be one of {known}", param_hint="OPERATION")
    if show_list:
        typer.echo(describe(chosen))
        return
    found = next((each for each in chosen if each.name == operation), None)
    if found is None:
        names = ", ".join(each.name for each in chosen)
        raise typer.BadParameter(f"{operation} is a group: {names}", param_hint="OPERATION")
    content = read_words(found, words or [])
    settings = common.settings()
    data = asyncio.run(ask(settings.mqtt, found, content, timeout_s=timeout))
    typer.echo(as_json(data))
