"""What several commands ask for in the same words: where the settings are, and the broker."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec, Self

import typer
from pydantic import ValidationError

from schemas.frame import Task
from service.configuration import OptionValue, find_file, load_settings
from service.errors import ConfigurationError
from service.settings import Settings

_Own = ParamSpec("_Own")
_MOST_PASSWORD_BYTES = 16_000  # as `setting_types.Secret`

_ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="Settings file (YAML); config.example.yaml explains every key. Without it the file "
        "that MOONDREAM2MQTT_CONFIG names, else ./config.yaml if it is there, else defaults. "
        "MOONDREAM2MQTT__ variables win over a file, e.g. MOONDREAM2MQTT__MQTT__HOST=nvr.local.",
    ),
]
_HostOption = Annotated[
    str | None,
    typer.Option(metavar="HOST", help="Name or address of the broker; none: mqtt.host."),
]
_PortOption = Annotated[
    int | None, typer.Option(metavar="PORT", help="Port of the broker; none: mqtt.port.")
]
_UsernameOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="Account on the broker; none: mqtt.username.")
]
_PasswordFileOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="File with the account's password, one line; none: mqtt.password."
    ),
]
_BROKER_OPTIONS = {
    "host": _HostOption,
    "port": _PortOption,
    "username": _UsernameOption,
    "password_file": _PasswordFileOption,
}


@dataclass(frozen=True, slots=True)
class CommonOptions:
    """What the command line says of the settings; `settings()` is what follows from it."""

    config: Path | None = None
    host: str | None = None
    port: int | None = None
    username: str | None = None
    password_file: Path | None = None

    @classmethod
    def of(cls, words: Mapping[str, Any]) -> Self:
        """Of the values of a command's options by their names, which may have others as well."""
        return cls(**{each.name: words.get(each.name) for each in fields(cls)})

    def file(self, *, only_named: bool = False) -> Path | None:
        """The settings file that is read; None: there is none.

        Args:
            only_named: Not a `./config.yaml` that nobody named.

        Raises:
            ConfigurationError: See `find_file`.
        """
        return find_file(self.config, only_named=only_named)

    def settings(
        self,
        *others: OptionValue,
        only_named: bool = False,
        is_silent: bool = False,
    ) -> Settings:
        """Read file, environment and options, and say on stderr which file it was.

        Args:
            others: What the command's own options say of settings.
            only_named: Not a `./config.yaml` that nobody named.
            is_silent: Say nothing; for a command that names the file itself.

        Raises:
            ConfigurationError: See `load_settings`; or the password cannot be read.
        """
        file = self.file(only_named=only_named)
        settings = load_settings(file, [*self._values(), *others])
        if file is not None and not is_silent:
            typer.echo(f"moondream2mqtt: settings from {file}", err=True)
        return settings

    def _values(self) -> list[OptionValue]:
        password = None if self.password_file is None else _read_password(self.password_file)
        values = {
            "--host": ("host", self.host),
            "--port": ("port", self.port),
            "--username": ("username", self.username),
            "--password-file": ("password", password),
        }
        return [
            OptionValue(option, ("mqtt", name), value)
            for option, (name, value) in values.items()
            if value is not None
        ]


def reads_settings(
    run: Callable[Concatenate[CommonOptions, _Own], None],
) -> Callable[..., None]:
    """Give a command `--config`, whose value it gets as its first argument."""
    return _with({"config": _ConfigOption}, run)


def talks_to_broker(
    run: Callable[Concatenate[CommonOptions, _Own], None],
) -> Callable[..., None]:
    """Give a command `--config` and the options that say where the broker is."""
    return _with({"config": _ConfigOption, **_BROKER_OPTIONS}, run)


def _with(
    options: dict[str, object], run: Callable[Concatenate[CommonOptions, _Own], None]
) -> Callable[..., None]:
    """The command as Typer sees it: with the options, behind its own, in place of their values."""

    @wraps(run)
    def command(*own: _Own.args, **named: _Own.kwargs) -> None:
        common = CommonOptions.of(named)
        for name in options:
            named.pop(name)
        run(common, *own, **named)

    signature = inspect.signature(run)
    _, *parameters = signature.parameters.values()
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in options.items()
    ]
    command.__signature__ = signature.replace(parameters=[*parameters, *shared])  # type: ignore[attr-defined]
    return command


def _read_password(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_PASSWORD_BYTES + 1)
        password = content.decode().removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise ConfigurationError(f"--password-file: {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"--password-file: {path}: is not UTF-8") from None
    if not password:
        raise ConfigurationError(f"--password-file: {path}: is empty")
    if "\n" in password:
        raise ConfigurationError(f"--password-file: {path}: has more than one line")
    return password


def settings_said(options: Mapping[str, tuple[str, str | int | float | None]]) -> list[OptionValue]:
    """Options of a command's own for `CommonOptions.settings`; those that are None say nothing.

    Args:
        options: By their names, the setting (dotted) and its value.
    """
    return [
        OptionValue(option, tuple(setting.split(".")), value)
        for option, (setting, value) in options.items()
        if value is not None
    ]


def read_task(option: str, content: object) -> Task:
    """The task that an option says, in the form of the wire.

    Raises:
        typer.BadParameter: It is none.
    """
    try:
        return Task.model_validate(content)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise typer.BadParameter(
            problem.removeprefix("Value error, "), param_hint=option
        ) from error


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
