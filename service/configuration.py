"""Reads the settings: one YAML file, overlaid by `MOONDREAM2MQTT__…` variables, then by options.

Unknown keys and bad values are refused in one line that says whether the file, a variable or an
option is wrong, and where. It never repeats a value, and of a key only what can be one: whoever
forgets a blank or a quote must not find a password in the log.
"""

import os
import re
from collections.abc import Mapping, Sequence
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
#: In place of what pydantic says to programmers.
_OUR_WORDS = {
    "extra_forbidden": "unknown setting",
    "model_type": "must be a mapping",
    "dict_type": "must be a mapping",
    "path_type": "must be a path",
}
_TYPES = {"null", "bool", "int", "float", "str", "seq", "map", "merge"}
_TEXT = "tag:yaml.org,2002:str"
_PLAIN = {f"tag:yaml.org,2002:{each}" for each in ("null", "bool", "int", "float")}
_MOST_BYTES = 16 << 20  # far above 10,000 cameras; what has no end is no file of settings


@dataclass(frozen=True, slots=True)
class OptionValue:
    """A setting that was said on the command line."""

    name: str  #: of the option, e.g. `--host`
    path: tuple[str, ...]  #: of the setting
    value: str | int | float


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
    merged = _overlay(content, environment, _Given(path, content))
    for option in options:
        said: Any = option.value
        for key in reversed(option.path):
            said = {key: said}
        merged = _overlay(merged, said, _Given(path, content, environment))
    try:
        settings = Settings(**merged)
    except ValidationError as error:
        given = _Given(path, content, environment, options)
        raise ConfigurationError(_explain(error, given, merged)) from None
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

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Keys are text as it is written (`on`, `1`), and each is there once."""
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for place, (key, value) in enumerate(node.value):
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in lines:
                raise yaml.constructor.ConstructorError(
                    problem=f"this key is there twice, first in line {lines[key.value]}",
                    problem_mark=key.start_mark,
                )
            lines[key.value] = key.start_mark.line + 1
            if key.tag in _PLAIN:  # a new node: an alias may be the value of something
                plain = yaml.ScalarNode(_TEXT, key.value, key.start_mark, key.end_mark)
                node.value[place] = (plain, value)
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Merge `<<`, and keep of a key what counts: merged again and again it would double."""
        super().flatten_mapping(node)
        kept = {
            key.value if isinstance(key, yaml.ScalarNode) else id(key): (key, value)
            for key, value in node.value
        }
        node.value = list(kept.values())

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ArithmeticError, LookupError, ValueError):  # of a value that is not as its tag says
            raise yaml.constructor.ConstructorError(
                problem="this value cannot be read", problem_mark=node.start_mark
            ) from None


def _read_file(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1).decode()
        if len(text) > _MOST_BYTES:
            raise ConfigurationError(f"{path}: is larger than {_MOST_BYTES >> 20} MiB")
        # Not a stream: of a text, a message of the parser's knows the place of a bad character.
        content = yaml.load(text, _Loader)  # noqa: S506 - a safe one
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: is not UTF-8 at byte {error.start + 1}") from None
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path}: {_place_of(error)}") from None
    except RecursionError:
        raise ConfigurationError(f"{path}: is nested too deep") from None
    except (ArithmeticError, ValueError):  # PyYAML's own, of an escape like \UFFFFFFFF
        raise ConfigurationError(f"{path}: has an escaped character that is none") from None
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


def _explain(error: ValidationError, given: "_Given", merged: Mapping[str, Any]) -> str:
    problems = error.errors(include_input=False, include_url=False, include_context=False)
    told, last = [], ""
    for problem in problems[:_MOST_PROBLEMS]:
        parts = _of_operator(problem["loc"], merged, problem["type"] == "missing")
        origin = given.origin(parts)
        said = _OUR_WORDS.get(problem["type"], problem["msg"]).removeprefix("Value error, ")
        text = f"{_path(parts)}: {said}"
        told.append(text if origin == last else origin + text)
        last = origin
    more = len(problems) - len(told)
    return "; ".join([*told, f"and {more} more"] if more else told)


def _of_operator(
    parts: Sequence[int | str], merged: Mapping[str, Any], is_missing: bool
) -> tuple[int | str, ...]:
    """The parts of a place that the operator wrote, without pydantic's names of alternatives."""
    value: Any = merged
    known: list[int | str] = []
    for part in parts:
        is_key = isinstance(value, Mapping) and part in value
        is_place = isinstance(value, list) and isinstance(part, int) and part < len(value)
        if is_key or is_place:
            value = value[part]
        elif not (is_missing and part == parts[-1]):
            continue
        known.append(part)
    return tuple(known)


@dataclass(frozen=True, slots=True)
class _Given:
    """Who said what."""

    path: Path | None
    content: Mapping[str, Any]  #: of the file
    environment: Mapping[str, Any] = field(default_factory=dict)
    options: Sequence[OptionValue] = ()

    def origin(self, parts: Sequence[int | str]) -> str:
        """Who said a setting, as a message begins.

        An option wins over the environment, and that over the file: value by value in mappings,
        and whole in lists. What is wrong of a whole mapping may be of several.
        """
        for option in self.options:
            if option.path == tuple(parts[: len(option.path)]):
                return f"{option.name}: "
        variables = self._variables(parts)
        in_file = isinstance(_at(self.content, parts), Mapping)
        if variables and in_file and isinstance(_at(self.environment, parts), Mapping):
            return f"{self.path} and {variables}: "
        return f"{variables or self.path}: " if variables or self.path else ""

    def _variables(self, parts: Sequence[int | str]) -> str:
        """The variables that say a setting or a part of it; empty: none does."""
        value: Any = self.environment
        for part in parts:
            if not isinstance(value, Mapping):
                break
            if part not in value:
                return ""
            value = value[part]
        names = {name.upper(): name for name in os.environ}
        for end in range(len(parts), 0, -1):
            name = ENVIRONMENT_PREFIX + "__".join(map(str, parts[:end])).upper()
            if name in names:
                return _shown(names[name])
        name = ENVIRONMENT_PREFIX + "".join(f"{part}__" for part in parts).upper()
        below = sorted(each for each in names if each.startswith(name))
        return _shown(names[below[0]]) if len(below) == 1 else "the environment"


def _at(content: Mapping[str, Any], parts: Sequence[int | str]) -> Any:
    """What stands at a place; None: nothing does."""
    value: Any = content
    for part in parts:
        if not isinstance(value, Mapping):
            return None
        value = value.get(part)
    return value


def _path(parts: Sequence[int | str]) -> str:
    return ".".join(_shown(str(part)) for part in parts)


def _shown(key: str) -> str:
    """A key as far as it can be one: `password:hunter2` is shown as `password…`."""
    found = _KEY.match(key)
    plain = found[0] if found else ""
    return plain if plain == key else f"{plain}…"
