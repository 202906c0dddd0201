"""`serve`: the service in the foreground, until a signal ends it."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from contextlib import suppress

import typer

from service import logs
from service.app import REAL_PARTS, Parts, serve
from service.commands.options import CommonOptions, talks_to_broker
from service.data_dir import open_data_dir
from service.errors import StoreFullError
from service.settings import Settings
from service.web.token import token_of

logger = logging.getLogger(__name__)


@talks_to_broker
def run(common: CommonOptions) -> None:
    """Caption the frames that arrive over MQTT, until stopped.

    The first SIGTERM or Ctrl-C lets running jobs finish within queue.shutdown_timeout and keeps the
    rest for the next start; a second one ends at once. Nothing is lost either way.
    """
    settings = common.settings(is_silent=True)
    logs.configure(settings.logging.level, settings.logging.format)
    if (file := common.file()) is not None:  # in the log, which may be JSON, one object a line
        logger.info("settings from %s", file, extra={"action": "settings_read"})
    if settings.http.enabled:
        _show_new_token(settings)
    received = asyncio.run(serve_until_signalled(settings))
    if received is signal.SIGINT:
        raise typer.Exit(128 + signal.SIGINT)


def _show_new_token(settings: Settings) -> None:
    """Print the token where there was none yet; on stdout, which is not the log.

    Raises:
        ConfigurationError: It cannot be kept.
    """
    with suppress(StoreFullError):  # which is waited for
        open_data_dir(settings.data_dir)
        token, is_new = token_of(settings)
        if is_new:
            typer.echo(f"Token for HTTP (`moondream2mqtt token` shows it again): {token}")


async def serve_until_signalled(
    settings: Settings,
    *,
    on_ready: Callable[[], None] | None = None,
    parts: Parts = REAL_PARTS,
) -> signal.Signals | None:
    """Serve until SIGINT or SIGTERM, and return which; a second one ends the process at once.

    Args:
        settings: Everything.
        on_ready: Called when an engine takes jobs for the first time.
        parts: For tests.

    Raises:
        ConfigurationError, ServiceError: See `serve`.
    """
    stop = asyncio.Event()
    first: signal.Signals | None = None

    def on_signal(received: signal.Signals) -> None:
        nonlocal first
        if first is not None:
            # Everything that matters is committed; the engine ends with its parent.
            os._exit(128 + received)
        first = received
        stop.set()

    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, on_signal, each)
    await serve(settings, stop=stop, on_ready=on_ready, parts=parts)
    return first
