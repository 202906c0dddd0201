"""What several commands ask for in the same words."""

from pathlib import Path
from typing import Annotated

import typer

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
