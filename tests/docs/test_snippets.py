"""What the documentation tells people to type would work, and its links lead somewhere."""

import importlib.util
import json
import re
import shlex
from collections.abc import Iterator
from itertools import pairwise, takewhile
from pathlib import Path

import pytest
import typer
import yaml

from broker.codec import validate
from broker.topics import TABLE, Topics, matches
from schemas.camera import CameraSettings
from schemas.frame import MotionFrame, Task
from schemas.requests.batches import BatchSubmit
from schemas.requests.envelope import Reply
from schemas.requests.skills import QueryRequest
from schemas.requests.table import TABLE as OPERATIONS
from schemas.result import Answer, ResultDocument
from schemas.status import StatusDocument
from service.cli import COMMANDS, build
from service.commands.words import read_words
from service.configuration import load_settings
from service.homeassistant.camera import camera_device
from service.homeassistant.words import Words
from tests.docs.pages import blocks
from tests.docs.reference import ROOT
from tests.soak.__main__ import parser as soak_parser

_FILES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("mosquitto/*.md")])
_EVERYDAY = {"source", "export", "cp", "docker", "python", "base64", "curl"}


def _snippets(language: str) -> Iterator[tuple[Path, str]]:
    for path in _FILES:
        yield from ((path, each.code) for each in blocks(path) if each.language == language)


def _ids(snippets: list[tuple[Path, str]]) -> list[str]:
    return [f"{path.name}-{number}" for number, (path, _) in enumerate(snippets)]


def _lines(code: str) -> Iterator[list[str]]:
    joined = re.sub(r"(\\|\|)\n\s*", r"\1 ", code).replace("\\ ", "")
    for line in joined.splitlines():
        for command in line.split(" | "):
            if words := shlex.split(command, comments=True):
                yield words


def _inline() -> Iterator[str]:
    """Commands inside of sentences, placeholders in capitals left out."""
    for path in _FILES:
        found = re.findall(r"`((?:make|moondream2mqtt|python) [^`\n]+)`", path.read_text())
        yield from (each for each in found if " COMMAND" not in each)


_BASH = list(_snippets("bash"))
_JSON = list(_snippets("json"))
_YAML = list(_snippets("yaml"))


@pytest.mark.parametrize(("path", "code"), _BASH, ids=_ids(_BASH))
def test_commands_exist_with_their_options(path: Path, code: str) -> None:
    for program, *words in _lines(code):
        if program == "moondream2mqtt":
            _check_own(words)
        elif program == "make":
            _check_make(words)
        elif program in {"mosquitto_pub", "mosquitto_sub", "mosquitto_rr"}:
            _check_topics(words)
        else:
            assert program in _EVERYDAY | {"jq"}, f"{path}: {program}"


@pytest.mark.parametrize("command", sorted(set(_inline())))
def test_commands_in_sentences_exist(command: str) -> None:
    program, *words = shlex.split(command)
    if program == "make":
        _check_make(words)
    elif program == "python":
        assert words[0] == "-m"
        assert importlib.util.find_spec(words[1]) is not None
    elif words not in (["--version"], ["--install-completion"]):
        _check_own(words)


@pytest.mark.parametrize(("path", "code"), _JSON, ids=_ids(_JSON))
def test_documents_are_valid(path: Path, code: str) -> None:
    document = json.loads(code)
    if "answer" in document:
        assert Answer.model_validate(document).model_dump() == document
    elif "question" in document:
        QueryRequest.model_validate(document)
    elif "frame_data" in document:
        MotionFrame.model_validate(document)
    elif document.keys() & {"data", "transaction"}:
        Reply.model_validate(document)
    elif "items" in document:
        for item in BatchSubmit.model_validate(document).items:
            MotionFrame.model_validate(item)
    elif "result" in document:
        ResultDocument.model_validate(document)
    elif "status" in document:
        StatusDocument.model_validate(document)
    else:
        assert set(document) == {
            "image",
            "caption",
            "queries",
            "choices",
            "objects",
            "points",
            "quantization",
        }


@pytest.mark.parametrize(("path", "code"), _YAML, ids=_ids(_YAML))
def test_settings_are_valid(path: Path, code: str, tmp_path: Path) -> None:
    document = yaml.safe_load(code)
    assert document
    if document.keys() & {"type", "alias"}:
        _check_entities(code)
        return
    (tmp_path / "config.yaml").write_text(code)
    load_settings(tmp_path / "config.yaml")


@pytest.mark.parametrize("path", _FILES, ids=lambda path: path.name)
def test_links_lead_to_files(path: Path) -> None:
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", path.read_text()):
        assert (path.parent / target).exists(), target


def _check_make(words: list[str]) -> None:
    """A target of the Makefile, and what its variables hand on."""
    target, *variables = words
    makefile = (ROOT / "Makefile").read_text()
    assert target in re.findall(r"^([a-z-]+):.*##", makefile, re.MULTILINE)
    given = dict(each.split("=", 1) for each in variables)
    assert given.keys() <= {"ARGS", "BENCH", "JOBS", "TORCH", "TORCH_ARGS", "PYTHON"}
    assert "BENCH" not in given or (ROOT / "bench" / f"{given['BENCH']}.py").is_file()
    arguments = shlex.split(given.get("ARGS", ""))
    if target == "soak":
        soak_parser().parse_args(arguments)
    elif target in {"demo", "run"}:
        _check_own([{"run": "serve"}.get(target, target), *arguments])


def _check_own(words: list[str]) -> None:
    name, *rest = words
    assert name in COMMANDS
    command = typer.main.get_command(build(name)).commands[name]  # type: ignore[attr-defined]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in rest if word.startswith("-")} <= known
    if name == "request" and rest and not rest[0].startswith("-"):
        [operation] = [each for each in OPERATIONS if each.name == rest[0]]
        said = takewhile(lambda word: not word.startswith("-"), rest[1:])
        validate(operation.request, read_words(operation, list(said)))


def _check_topics(words: list[str]) -> None:
    ours = [each.pattern.replace("<base>", "moondream2mqtt") for each in TABLE]
    for flag, topic in pairwise(words):
        if flag in {"-t", "-T"}:
            concrete = [each.replace("<camera>", "front_door") for each in ours]
            is_theirs = any(matches(each, topic) for each in concrete)
            filters = [each.topic_filter("moondream2mqtt") for each in TABLE]
            assert is_theirs or any(matches(topic, each) for each in filters), topic


def _check_entities(code: str) -> None:
    """Of a card or an automation: Home Assistant is told of each entity that it names."""
    tasks = tuple(Task.model_validate(each) for each in ("caption", {"detect": "person"}))
    device = camera_device(
        Topics("moondream2mqtt"),
        Words("en"),
        "front_door",
        CameraSettings(publish_image=True, tasks=tasks),
        version="1",
        is_in_file=True,
    )
    known = {each["def_ent_id"] for each in device.components.values()}
    named = set(re.findall(r"\b(?:sensor|image|switch|select|number|event)\.\w+", code))
    assert named
    assert named <= known
