"""What several commands ask for in the same words."""

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from schemas.frame import Task

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        envvar="MOONDREAM2MQTT_CONFIG",
        help="Settings file (YAML); config.example.yaml explains every key. Without it the "
        "defaults hold. MOONDREAM2MQTT__ variables win over both, e.g. "
        "MOONDREAM2MQTT__MQTT__HOST=nvr.local.",
    ),
]


def read_choose(text: str) -> Task:
    """The task of `QUESTION=CHOICE,CHOICE`; the last `=` divides.

    Raises:
        typer.BadParameter: It is none.
    """
    question, _, choices = text.rpartition("=")
    try:
        return Task.model_validate(
            {"choose": {"question": question, "choices": choices.split(",")}}
        )
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]["msg"]
        reason = problem.removeprefix("Value error, ")
        raise typer.BadParameter(f"{reason}: {text!r}", param_hint="--choose") from error
