"""The command line: which commands there are, and how they end.

Only the command that was asked for is imported, so that `--help` answers at once. Errors are one
line on stderr; the exit code is 0 on success, 1 on failure, 2 on bad usage or configuration, and
130 after Ctrl-C.
"""

import errno
import logging
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from io import TextIOWrapper
from typing import Annotated

import typer

from service.commands.terminal import one_line
from service.errors import ConfigurationError, ServiceError
from service.importing import import_to_stay

PROGRAM = "moondream2mqtt"
#: What writing to a pipe or a file gives that nobody reads or that is full.
_OF_OUTPUT = {errno.EPIPE, errno.ENOSPC, errno.EIO}

#: Every command with the line that `--help` shows for it; its code is `service/commands/<name>.py`.
COMMANDS = {
    "serve": "Caption the frames that arrive over MQTT, until stopped.",
    "demo": "Show the whole service at work on drawn cameras, with nothing to set up.",
    "infer": "Run the model on image files, without a broker.",
    "publish": "Send image files as frames of a camera.",
    "watch": "Follow captions, queue and rates of a running service.",
    "request": "Ask a running service, or order something, and print the answer as JSON.",
    "download": "Fetch the model's files, so that serving needs no network.",
    "token": "Show the token that callers of the HTTP gateway need, or make a new one.",
    "doctor": "Check configuration, broker, model, device and disk.",
}


def main(
    arguments: Sequence[str] | None = None,
    make_app: Callable[[str | None], typer.Typer] | None = None,
) -> int:
    """Run the command line and return its exit code.

    Args:
        arguments: Words after the program's name; None for those of this process.
        make_app: In place of `build`; tests put commands of their own.
    """
    # A command that writes no log says all it has to say in its output and its one line of error.
    logging.getLogger().addHandler(logging.NullHandler())
    if isinstance(sys.stdout, TextIOWrapper):
        # A letter that the output's encoding lacks is no reason to end.
        sys.stdout.reconfigure(errors="backslashreplace")
    words = list(sys.argv[1:] if arguments is None else arguments)
    chosen = next((word for word in words or _typed() if not word.startswith("-")), None)
    try:
        return (make_app or build)(chosen)(
            args=words, prog_name=PROGRAM, standalone_mode=False
        ) or 0
    except typer.TyperException as error:
        return _fail(error.format_message(), error.exit_code)
    except (ServiceError, OSError) as error:
        if not _is_foreseen(error):
            raise
        return _fail_of(error)
    except ExceptionGroup as group:
        on_purpose, others = group.split(_is_foreseen)
        if on_purpose is None or others is not None:
            raise
        return _fail_of(_first(on_purpose))
    except (KeyboardInterrupt, typer.Abort):
        return 130


def _typed() -> list[str]:
    """The words after the program's name that a shell wants completed, see `typer.completion`."""
    typed = os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS") or ""
    return typed.split()[1:]


def build(chosen: str | None) -> typer.Typer:
    """The command line with `chosen` ready to run and every other command as its line of help."""
    app = typer.Typer(
        help="Turns camera motion into words over MQTT, with Moondream2 on your own machine.",
        context_settings={"help_option_names": ["-h", "--help"]},  # of every command as well
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback(invoke_without_command=True)(_root)
    for name, summary in COMMANDS.items():
        run = import_to_stay(f"service.commands.{name}").run if name == chosen else _not_chosen
        app.command(name, short_help=summary)(run)
    return app


def _root(
    context: typer.Context,
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.")
    ] = False,
) -> None:
    if show_version:
        typer.echo(f"{PROGRAM} {version(PROGRAM)}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


def _not_chosen() -> None:
    """Stand for a command that was not asked for."""


def _is_foreseen(error: BaseException) -> bool:
    """Whether it is ours, or the output's: a reader that has gone, a full disk."""
    return isinstance(error, ServiceError) or getattr(error, "errno", None) in _OF_OUTPUT


def _first(group: ExceptionGroup[Exception]) -> Exception:
    """The error that made a task group end; the others came of it."""
    first = group.exceptions[0]
    return _first(first) if isinstance(first, ExceptionGroup) else first


def _fail_of(error: Exception) -> int:
    if not isinstance(error, OSError):
        return _fail(str(error), 2 if isinstance(error, ConfigurationError) else 1)
    # What is left in the buffer would fail again when the process ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if error.errno == errno.EPIPE:  # `head` has seen enough
        return 1
    return _fail(f"the output cannot be written: {error.strerror}", 1)


def _fail(message: str, code: int) -> int:
    typer.echo(f"{PROGRAM}: {one_line(message)}", err=True)
    return code
