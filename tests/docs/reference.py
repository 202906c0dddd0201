"""The parts of the documentation that are written from the code: `make docs`.

A generated part stands between two marks in its file; the tests compare it with what it should be,
so documentation that was not renewed fails them.
"""

import json
import re
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer
import yaml
from annotated_types import Ge, Le
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from broker.topics import TABLE
from schemas.codes import TABLE as CODES
from schemas.frame import Priority
from service.cli import COMMANDS, build
from service.settings import Settings
from tests.docs import asyncapi, http_paths, json_schemas, requests
from tests.docs.markdown import cell
from tests.support.setting_bounds import leaves

ROOT = Path(__file__).resolve().parents[2]

_EXAMPLE_HEAD = """\
# Settings of moondream2mqtt, with their defaults.
#
# Copy this file to config.yaml, keep what you change, and delete the rest: a key that is not here
# has its default. Times are in seconds, sizes in bytes. Every key can also be given in the
# environment, which wins, e.g. MOONDREAM2MQTT__MQTT__HOST=nvr.local.
"""

_SCHEMAS = "docs/schemas"
_ASYNCAPI_HEAD = "# Written by `make docs` from the topics and operations of the code.\n"

_EXAMPLES = {
    "cameras": """\
# cameras:
#   front_door:
#     location: Front Door
#     tasks: [caption, {query: Is there a package?}, {detect: person}]
#     cooldown: 5
""",
    "sources": """\
# sources:
#   - topic: ring/+/camera/{camera}/snapshot/image
#     motion_intensity: 0.6
""",
    "triggers": """\
# triggers:
#   - topic: neolink/{camera}/status/motion
#     url: http://127.0.0.1:1984/api/frame.jpeg?src={camera}
#     burst: {frames: 3, keep: best}
""",
}


def settings_table() -> str:
    """Every setting: path, default, range, meaning."""
    lines = []
    for name, section in Settings.model_fields.items():
        lines += ["", f"### `{name}`", "", f"{section.description}.", ""]
        lines += ["| Setting | Default | Range | Meaning |", "|---|---|---|---|"]
        lines += [
            f"| `{path}` | {_default(field)} | {_range(field)} | {cell(_meaning(field))} |"
            for path, field in leaves(name, section)
        ]
    return "\n".join(lines).strip()


def example() -> str:
    """`config.example.yaml`."""
    return _EXAMPLE_HEAD + "".join(_yaml("", *each) for each in Settings.model_fields.items())


def topics_table() -> str:
    """Every topic."""
    lines = ["| Topic | Payload | QoS | Retained | What |", "|---|---|---|---|---|"]
    for spec in TABLE:
        payload = f"`{spec.schema.__name__}`" if spec.schema else "–"
        kept = "yes" if spec.retain else "no"
        lines.append(f"| `{spec.pattern}` | {payload} | {spec.qos} | {kept} | {spec.description} |")
    return "\n".join(lines)


def codes_table() -> str:
    """Every error code, and which ends carry it."""
    lines = ["| Code | Status | Meaning |", "|---|---|---|"]
    for spec in CODES:
        ends = ", ".join(status.value for status in spec.statuses) or "dead letter only"
        lines.append(f"| `{spec.code}` | {ends} | {cell(spec.meaning)} |")
    return "\n".join(lines)


def commands_reference() -> str:
    """Every command with its arguments and options."""
    parts = []
    for name in COMMANDS:
        command = typer.main.get_command(build(name)).commands[name]  # type: ignore[attr-defined]
        parts += [f"### `{name}`", "", *_paragraphs(command.help or ""), ""]
        parts += ["| | |", "|---|---|"]
        parts += [
            f"| {_spelling(parameter)} | {cell(_help(parameter))} |"
            for parameter in command.params
            if parameter.name != "help"
        ]
        parts.append("")
    return "\n".join(parts).strip()


def targets_table() -> str:
    """Every target of the Makefile."""
    lines = ["| | |", "|---|---|"]
    for target, text in re.findall(r"^([a-z-]+):.*?## (.*)$", _read("Makefile"), re.MULTILINE):
        lines.append(f"| `make {target}` | {cell(text)} |")
    return "\n".join(lines)


#: File, name of the part, what writes it.
PARTS: tuple[tuple[str, str, Callable[[], str]], ...] = (
    ("docs/settings.md", "settings", settings_table),
    ("docs/topics.md", "topics", topics_table),
    ("docs/topics.md", "codes", codes_table),
    ("docs/requests.md", "operations", requests.operations),
    ("docs/requests.md", "request-codes", requests.codes),
    ("docs/http.md", "paths", http_paths.ours),
    ("docs/http.md", "other-paths", http_paths.of_others),
    ("docs/http.md", "statuses", http_paths.statuses),
    ("docs/commands.md", "commands", commands_reference),
    ("docs/commands.md", "targets", targets_table),
)


def files() -> dict[str, str]:
    """The files that are generated as a whole, by their path."""
    found = {
        "config.example.yaml": example(),
        "docs/asyncapi.yaml": _ASYNCAPI_HEAD + _dump_yaml(asyncapi.document()),
    }
    for name, schema in json_schemas.schemas().items():
        text = json.dumps(schema, indent=2, ensure_ascii=False)
        found[f"{_SCHEMAS}/{name}.json"] = f"{text}\n"
    return found


def generated() -> set[str]:
    """The generated files that are there, of this version or another."""
    there = {str(path.relative_to(ROOT)) for path in (ROOT / _SCHEMAS).rglob("*.json")}
    return there | {"config.example.yaml", "docs/asyncapi.yaml"}


def part_of(text: str, name: str) -> str:
    """What stands between the marks of a part."""
    found = re.search(_marked(name), text, re.DOTALL)
    if found is None:
        raise ValueError(f"the marks of {name!r} are missing")
    return found[2].strip()


def write() -> None:
    """Renew every generated part."""
    for file, name, render in PARTS:
        path, content = ROOT / file, f"\n{render()}\n"
        text = re.sub(
            _marked(name),
            lambda found, content=content: found[1] + content + found[3],  # type: ignore[misc]
            path.read_text(encoding="utf-8"),
            flags=re.DOTALL,
        )
        path.write_text(text, encoding="utf-8")
    wanted = files()
    for file in generated() - wanted.keys():
        (ROOT / file).unlink()
    for file, text in wanted.items():
        (ROOT / file).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / file).write_text(text, encoding="utf-8")


def _marked(name: str) -> str:
    return rf"(<!-- {name}: written by `make docs` -->\n)(.*?)(\n<!-- /{name} -->)"


def _read(file: str) -> str:
    return (ROOT / file).read_text(encoding="utf-8")


class _Plain(yaml.SafeDumper):
    """Writes what occurs twice twice, not as an alias."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _dump_yaml(content: dict[str, Any]) -> str:
    return yaml.dump(content, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=100)


def _yaml(indent: str, name: str, field: FieldInfo) -> str:
    model = field.annotation
    gap = "" if indent else "\n"
    comment = textwrap.indent(textwrap.fill(_meaning(field), 90), f"{indent}# ") + "\n"
    if isinstance(model, type) and issubclass(model, BaseModel):
        inner = "".join(_yaml(indent + "  ", *each) for each in model.model_fields.items())
        return f"{gap}{comment}{indent}{name}:\n{inner}"
    shown = "" if indent else _EXAMPLES.get(name, "")
    return f"{gap}{comment}{indent}{name}: {_scalar(_plain(field))}\n{shown}"


def _plain(field: FieldInfo) -> Any:
    value = field.get_default(call_default_factory=True)
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, Priority):
        return value.wire
    if isinstance(value, tuple):
        return [each.model_dump() if isinstance(each, BaseModel) else each for each in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return str(value) if isinstance(value, str | Path) else value


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = _plain(field)
    if value is None or value in ([], {}):
        return "none"
    return f"`{_scalar(value)}`"


def _range(field: FieldInfo) -> str:
    """The least and the greatest value of a number."""
    least = next((each.ge for each in field.metadata if isinstance(each, Ge)), None)
    greatest = next((each.le for each in field.metadata if isinstance(each, Le)), None)
    return "" if least is None or greatest is None else f"{least:.10g} – {greatest:.10g}"


def _scalar(value: Any) -> str:
    """A value as YAML on one line."""
    return yaml.safe_dump(value, default_flow_style=True).strip().removesuffix("...").strip()


def _meaning(field: FieldInfo) -> str:
    literals = field.annotation if get_origin(field.annotation) is Literal else None
    choices = ", ".join(str(choice) for choice in get_args(literals)) if literals else ""
    return f"{choices}: {field.description}" if choices else field.description or ""


def _paragraphs(text: str) -> list[str]:
    text = text.replace("<", "\\<")  # <base> is no HTML
    return "\n\n".join(" ".join(each.split()) for each in text.split("\n\n")).split("\n")


def _help(parameter: Any) -> str:
    default = parameter.default
    shown = f" Default: {default}." if default and default is not True else ""
    return f"{parameter.help}{shown}"


def _spelling(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{parameter.metavar}`"
    value = "" if parameter.is_flag else f" {parameter.metavar}"
    return ", ".join(f"`{name}{value}`" for name in reversed(parameter.opts)).replace("|", "\\|")


if __name__ == "__main__":
    write()
    sys.exit(0)
