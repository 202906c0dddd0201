"""`token`: what callers of the HTTP gateway have to show."""

from typing import Annotated

import typer

from service.commands.options import CommonOptions, reads_settings
from service.data_dir import open_data_dir
from service.errors import ConfigurationError
from service.web.token import make_token, token_of


@reads_settings
def run(
    common: CommonOptions,
    new: Annotated[
        bool,
        typer.Option("--new", help="Make a new one; the old one and all logins end at a restart."),
    ] = False,
) -> None:
    """Print the token that callers of the HTTP gateway need.

    It is http.token, or was made at the first start and is kept in data_dir, where only the
    service's account can read it. Run this as that account.
    """
    settings = common.settings(is_silent=True)
    if new and settings.http.token is not None:
        raise ConfigurationError("http.token: is set, so change it there")
    if settings.http.token is None:
        open_data_dir(settings.data_dir)
    if new:
        typer.echo(make_token(settings.data_dir))
        typer.echo("moondream2mqtt: restart the service, which still knows the old one", err=True)
        return
    typer.echo(token_of(settings)[0])
