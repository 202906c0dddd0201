"""The container files agree with the code; the image itself is not built here."""

import json
import re
from typing import Any

import pytest
import typer
import yaml

from service.cli import COMMANDS, build
from service.configuration import load_settings
from tests.docs.reference import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()


@pytest.fixture(scope="module")
def compose() -> Any:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def test_compose_environment_is_valid_settings(
    compose: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in compose["services"]["moondream2mqtt"]["environment"].items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.mqtt.host in compose["services"]
    assert settings.mqtt.password is not None


def test_compose_stops_later_than_the_service_needs(compose: Any) -> None:
    grace = compose["services"]["moondream2mqtt"]["stop_grace_period"]
    assert int(grace.removesuffix("s")) > load_settings().queue.shutdown_timeout


def test_compose_keeps_data_and_models_in_volumes(compose: Any) -> None:
    mounted = {
        name: folder.split(":")[1]
        for folder in compose["services"]["moondream2mqtt"]["volumes"]
        if (name := folder.split(":")[0]) in compose["volumes"]
    }
    folders = json.loads(re.findall(r"^VOLUME (.*)$", DOCKERFILE, re.MULTILINE)[0])
    assert sorted(mounted.values()) == sorted(folders)


def test_image_copies_what_exists_and_is_not_ignored() -> None:
    lines = re.findall(r"^COPY (.*) \S+$", DOCKERFILE, re.MULTILINE)
    sources = {source for line in lines for source in line.split()}
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert sources == {line[1:] for line in ignored if line.startswith("!")}
    assert all((ROOT / source).exists() for source in sources)


def test_image_pins_the_torch_of_the_package() -> None:
    [pinned] = re.findall(r'"(torch==[^"]+)"', (ROOT / "pyproject.toml").read_text())
    assert pinned in DOCKERFILE
    assert pinned in (ROOT / "Makefile").read_text()


def test_image_runs_commands_that_exist() -> None:
    [words] = re.findall(r"^    CMD (.*)$", DOCKERFILE, re.MULTILINE)
    program, name, option = json.loads(words)
    command = typer.main.get_command(build(name)).commands[name]  # type: ignore[attr-defined]
    assert program == "moondream2mqtt"
    assert option in {each for parameter in command.params for each in parameter.opts}
    assert json.loads(re.findall(r"^CMD (.*)$", DOCKERFILE, re.MULTILINE)[0]) == ["serve"]
    assert "serve" in COMMANDS
