"""`download`: the model's files into the hub's cache, ahead of the first start.

The work is done by a child, `engine.download`, because this process never loads the model
package.
"""

import subprocess
import sys
from typing import Annotated

import typer

from service.commands.options import CommonOptions, reads_settings, settings_said
from service.engines.child import child_environment


@reads_settings
def run(
    common: CommonOptions,
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="[HUB_ID]", help="Model to fetch, e.g. vikhyatk/moondream2; none: model.name."
        ),
    ] = None,
    revision: Annotated[
        str | None, typer.Option(metavar="REVISION", help="Its revision; none: model.revision.")
    ] = None,
) -> None:
    """Fetch the model's files, so that serving needs no network.

    About 4 GB for Moondream2. A download that was cut off goes on where it stopped; files that are
    there already are only verified. They go to the Hugging Face cache (HF_HOME). Prints the folder.
    """
    said = {"HUB_ID": ("model.name", model), "--revision": ("model.revision", revision)}
    wanted = common.settings(*settings_said(said)).model
    child = [sys.executable, "-m", "engine.download"]
    ended = subprocess.run(  # noqa: S603 - our own module; the names are only compared and fetched
        [*child, "--", wanted.name, wanted.revision],
        check=False,
        env=child_environment(),
    )
    if ended.returncode:
        raise typer.Exit(ended.returncode)
