"""Reads the settings: one YAML file, overlaid by `MOONDREAM2MQTT__…` variables, then by options.

Unknown keys and bad values are refused in one line that says whether the file, a variable or an
option is wrong, and where. It never repeats a value, and of a key only what can be one: whoever
forgets a blank or a quote must not find a password in the log.
"""

import os
import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource, SettingsError

from service.errors import ConfigurationError
from service.settings import ENVIRONMENT_PREFIX, Settings

#: Names the settings file where no option does; empty: none is read.
FILE_VARIABLE = "MOONDREAM2MQTT_CONFIG"
#: Read where neither says one, if it is there.
USUAL_FILE = Path("config.yaml")

_MOST_PROBLEMS = 5  # named in one message; the operator mends the first ones first
_KEY = re.compile(r"[^\s:=@'\"]{0,64}")
# Names of YAML's own tokens (`<block end>`) and single characters; longer quotes are the file's.
_HARMLESS = re.compile(r"""(?:[^'"]|(['"])(?:\\?.|<[a-z ]+>)\1)*""")
_TYPES = {"null", "bool", "int", "float", "str", "seq", "map", "merge"}


@dataclass(frozen=True, slots=True)
class OptionValue:
    """A setting that was said on the command line."""

    name: str  #: of the option, e.g. `--host`
    path: tuple[str, ...]  #: of the setting
    value: str | int


def find_file(option: Path | None = None, *, only_named: bool = False) -> Path | None:
    """The settings file: the option's, else that of `MOONDREAM2MQTT_CONFIG`, else `./config.yaml`.

    Args:
        option: What `--config` says.
        only_named: Leave out the last of the three.

    Returns:
        None where there is none to read; a file that was named may be missing.

    Raises:
        ConfigurationError: The variable names a file that is not there.
    """
    if option is not None:
        return option
    variable = os.environ.get(FILE_VARIABLE)
    if variable is None:
        # Also where it is a folder, which is what Docker makes of a file to mount that is missing.
        return USUAL_FILE if os.path.lexists(USUAL_FILE) and not only_named else None
    if variable and not os.path.exists(variable):
        raise ConfigurationError(f"{FILE_VARIABLE}: {variable}: there is no such file")
    return Path(variable) if variable else None


def load_settings(path: Path | None = None, options: Sequence[OptionValue] = ()) -> Settings:
    """Read the file, overlay the environment, then the options.

    Args:
        path: The file; None for none, see `find_file`.
        options: What the command line says.

    Raises:
        ConfigurationError: The file cannot be read, or a key or value is wrong; the message names
            the key's path and where it was given.
    """
    content = _read_file(path) if path is not None else {}
    environment = _read_environment()
    merged = _overlay(content, environment, _Given(path))
    for option in options:
        said: Any = option.value
        for key in reversed(option.path):
            said = {key: said}
        merged = _overlay(merged, said, _Given(path, environment))
    try:
        settings = Settings(**merged)
    except ValidationError as error:
        raise ConfigurationError(_explain(error, _Given(path, environment, options))) from None
    _refuse_unknown_variables()
    return settings


def _overlay(
    lower: Mapping[str, Any],
    upper: Mapping[str, Any],
    below: "_Given",
    above: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Values of `upper` win, in mappings one by one; `below` knows who said `lower`.

    Raises:
        ConfigurationError: Something else where a mapping belongs would be replaced, unseen.
    """
    merged = dict(lower)
    for key, value in upper.items():
        if key in lower and isinstance(value, Mapping):
            path = (*above, key)
            if not isinstance(lower[key], Mapping):
                raise ConfigurationError(f"{below.origin(path)}{_path(path)}: must be a mapping")
            merged[key] = _overlay(lower[key], value, below, path)
        else:
            merged[key] = value
    return merged


# -- the file ------------------------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """Only what settings are made of: no dates, so a release needs no quotes, and no key twice."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own name and form
        character: [each for each in resolvers if each[0].rpartition(":")[2] in _TYPES]
        for character, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    yaml_constructors = {  # noqa: RUF012
        tag: construct
        for tag, construct in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag.rpartition(":")[2] in _TYPES
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[object] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem="this key is there twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _read_file(path: Path) -> dict[str, Any]:
    try:
        # Not a stream: of a text, a message of the parser's knows the place of a bad character.
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - a safe one
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: is not UTF-8 at byte {error.start + 1}") from None
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path}: {_place_of(error)}") from None
    except RecursionError:
        raise ConfigurationError(f"{path}: is nested too deep") from None
    except (ValueError, LookupError):  # PyYAML's own, of a value that is not what its tag says
        raise ConfigurationError(f"{path}: has a number that cannot be read") from None
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigurationError(f"{path}: must be a mapping of settings, e.g. `mqtt:`")
    return content


def _place_of(error: yaml.YAMLError) -> str:
    """Line, column and problem, without the context: that is the text of the line."""
    if isinstance(error, yaml.reader.ReaderError):
        return f"character {error.position + 1} is not allowed in YAML"
    if not isinstance(error, yaml.MarkedYAMLError):
        return "is not YAML"
    mark = error.problem_mark or error.context_mark
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    found = _HARMLESS.match(error.problem or "")
    return where + ((found[0].strip() if found else "") or "is not YAML")


# -- the environment -----------------------------------------------------------------------------


def _read_environment() -> Mapping[str, Any]:
    """What the variables say, as nested mappings.

    Raises:
        ConfigurationError: A list or mapping in one is not JSON.
    """
    source = EnvSettingsSource(Settings)
    try:
        return source()
    except (SettingsError, RecursionError):  # which variable it was is not said
        variables = source.env_vars
    for name, text in variables.items():
        source.env_vars = {name: text}
        try:
            source()
        except (SettingsError, RecursionError):
            raise ConfigurationError(f"{_shown(name.upper())}: must be JSON") from None
    raise ConfigurationError("the environment: a list or mapping must be JSON")


def _refuse_unknown_variables() -> None:
    """A misspelt first level is not seen by pydantic-settings; one below it is."""
    known = {f"{ENVIRONMENT_PREFIX}{name}".upper() for name in Settings.model_fields}
    for variable in os.environ:
        if not variable.upper().startswith(ENVIRONMENT_PREFIX):
            continue
        first = "__".join(variable.upper().split("__")[:2])
        if first not in known:
            raise ConfigurationError(f"{_shown(variable)}: unknown setting in the environment")


# -- what is wrong -------------------------------------------------------------------------------


def _explain(error: ValidationError, given: "_Given") -> str:
    problems = error.errors(include_input=False, include_url=False, include_context=False)
    told, last = [], ""
    for problem in problems[:_MOST_PROBLEMS]:
        origin = given.origin(problem["loc"])
        is_unknown = problem["type"] == "extra_forbidden"
        text = f"{_path(problem['loc'])}: {'unknown setting' if is_unknown else problem['msg']}"
        told.append(text if origin == last else origin + text)
        last = origin
    more = len(problems) - len(told)
    return "; ".join([*told, f"and {more} more"] if more else told)


@dataclass(frozen=True, slots=True)
class _Given:
    """Who said what."""

    path: Path | None
    environment: Mapping[str, Any] = field(default_factory=dict)
    options: Sequence[OptionValue] = ()

    def origin(self, parts: Sequence[int | str]) -> str:
        """Who said a setting, as a message begins.

        An option wins over the environment, and that over the file: value by value in mappings,
        and whole in lists.
        """
        for option in self.options:
            if option.path == tuple(parts[: len(option.path)]):
                return f"{option.name}: "
        value: Any = self.environment
        for part in parts:
            if not isinstance(value, Mapping):
                break
            if part not in value:
                return f"{self.path}: " if self.path else ""
            value = value[part]
        names = {name.upper(): name for name in os.environ}
        for end in range(len(parts), 0, -1):
            name = ENVIRONMENT_PREFIX + "__".join(map(str, parts[:end])).upper()
            if name in names:
                return f"{_shown(names[name])}: "
        return "the environment: "


def _path(parts: Sequence[int | str]) -> str:
    return ".".join(_shown(str(part)) for part in parts)


def _shown(key: str) -> str:
    """A key as far as it can be one: `password:hunter2` is shown as `password…`."""
    found = _KEY.match(key)
    plain = found[0] if found else ""
    return plain if plain == key else f"{plain}…"
