"""The container files agree with the code; the image itself is not built here."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from service.cli import COMMANDS, build
from service.configuration import load_settings
from service.settings import Settings
from tests.docs.reference import ROOT
from tests.support.mosquitto import mosquitto_passwd_or_skip

DOCKERFILE = (ROOT / "Dockerfile").read_text()


@pytest.fixture(scope="module")
def compose() -> Any:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def test_compose_environment_is_valid_settings(
    compose: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in compose["services"]["moondream2mqtt"]["environment"].items():
        monkeypatch.setenv(name, _substituted(value))
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


# A processor or a GPU

DRIVER = "580.65"  # the oldest with which CUDA 13.0 runs, for which pip's build of PyTorch is made
_STUB = """#!/bin/bash
echo "${0##*/} $*" >> "$LOG"
"""


@pytest.fixture(scope="module")
def on_gpu() -> Any:
    return yaml.safe_load((ROOT / "docker-compose.cuda.yml").read_text())


def _installed(folder: Path, torch: str) -> list[str]:
    """Run what the image runs to install PyTorch, with programs that only note their calls."""
    [script] = re.findall(
        r"^RUN (if \[ \"\$TORCH\".*?[^\\])$", DOCKERFILE, re.MULTILINE | re.DOTALL
    )
    for name in ("apt-get", "pip", "rm", "uv"):
        (folder / name).write_text(_STUB)
        (folder / name).chmod(0o755)
    environment = {"PATH": str(folder), "TORCH": torch, "LOG": str(folder / "log")}
    subprocess.run(["/bin/sh", "-ec", script], check=True, env=environment)
    calls = (folder / "log").read_text().splitlines()
    return [each for each in calls if " install " in each]


def test_image_for_processors_has_neither_cuda_nor_a_compiler(tmp_path: Path) -> None:
    calls = _installed(tmp_path, "cpu")
    assert [each.split()[-1] for each in calls] == ["uv", "torch==2.13.0"]
    assert "--torch-backend=cpu" in calls[1]


def test_image_for_gpus_has_the_torch_of_pip_and_a_compiler(tmp_path: Path) -> None:
    compiler, torch = _installed(tmp_path, "cuda")
    assert compiler.split()[-1] == "g++"
    assert torch == "pip install --no-cache-dir -c constraints.txt torch==2.13.0"


def test_image_for_older_drivers_has_the_torch_that_is_named(tmp_path: Path) -> None:
    assert "--torch-backend=cu126" in _installed(tmp_path, "cu126")[-1]


def test_compose_runs_without_a_gpu_unless_told_otherwise(compose: Any, on_gpu: Any) -> None:
    service, more = (each["services"]["moondream2mqtt"] for each in (compose, on_gpu))
    assert _substituted(service["build"]["args"]["TORCH"]) == "cpu"
    assert _substituted(more["build"]["args"]["TORCH"]) == "cuda"
    assert "deploy" not in service
    [device] = more["deploy"]["resources"]["reservations"]["devices"]
    assert device["driver"] == "nvidia"
    assert re.findall(r"^ARG (\w+)=", DOCKERFILE, re.MULTILINE) == ["TORCH"]


def test_example_of_env_has_every_variable_of_the_compose_files() -> None:
    text = (ROOT / ".env.example").read_text()
    files = re.findall(r"^#COMPOSE_FILE=(.*)$", text, re.MULTILINE)[0].split(":")
    used = {name for file in files for name in re.findall(r"\$\{(\w+)", (ROOT / file).read_text())}
    assert set(re.findall(r"^#?(\w+)=", text, re.MULTILINE)) == used | {"COMPOSE_FILE"}
    assert {".env", "/mosquitto/passwd"} <= set((ROOT / ".gitignore").read_text().splitlines())


def test_oldest_driver_is_named_wherever_a_gpu_is_chosen() -> None:
    pages = ("docs/how-to/run-as-a-service.md", "docs/how-to/install.md")
    for file in ("Dockerfile", "docker-compose.cuda.yml", ".env.example", *pages):
        assert DRIVER in (ROOT / file).read_text(), file


# The first start

_DOCKER = """#!/bin/bash
case "$*" in
    "compose run --rm --no-deps mosquitto mosquitto_passwd "*)
        shift 6; exec mosquitto_passwd "${@/#\\/mosquitto\\/config/$PWD/config}" ;;
    "compose up "*) [ -e .env ] && cp config/passwd accounts ;;
esac
"""


def test_commands_of_the_first_start_make_the_accounts_before_the_broker(tmp_path: Path) -> None:
    mosquitto_passwd_or_skip()
    page = (ROOT / "docs/how-to/run-as-a-service.md").read_text()
    [commands] = re.findall(r"```bash\n(cp \.env.*?)```", page, re.DOTALL)
    (tmp_path / "docker").write_text(_DOCKER)
    (tmp_path / "docker").chmod(0o755)
    (tmp_path / "config").mkdir()
    shutil.copy(ROOT / ".env.example", tmp_path)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-ec", commands], cwd=tmp_path, check=True, env=environment)
    accounts = {line.split(":")[0] for line in (tmp_path / "accounts").read_text().splitlines()}
    named = set(re.findall(r"^user (\w+)", (ROOT / "mosquitto/acl").read_text(), re.MULTILINE))
    assert named - {"frigate"} <= accounts


# The profiles


def _substituted(value: str) -> str:
    """What Compose makes of a value while nothing is set; what has to be set is any text."""
    return re.sub(r"\$\{\w+(?::(?:-([^}]*)|\?[^}]*))?\}", lambda found: found[1] or "x", value)


@pytest.fixture(scope="module")
def frigate() -> Any:
    return yaml.safe_load((ROOT / "examples/frigate/config.yml").read_text())


def test_profiles_start_nothing_by_themselves(compose: Any) -> None:
    profiles = {
        name: service["profiles"]
        for name, service in compose["services"].items()
        if "profiles" in service
    }
    assert profiles == {"frigate": ["frigate"], "go2rtc": ["go2rtc"]}


@pytest.mark.parametrize("name", ["frigate", "go2rtc"])
def test_profile_mounts_an_example_that_is_there(compose: Any, name: str) -> None:
    [file] = [each.split(":")[0] for each in compose["services"][name]["volumes"] if each[0] == "."]
    assert yaml.safe_load((ROOT / file).read_text())


@pytest.mark.parametrize(
    ("name", "file"), [("frigate", "frigate/config.yml"), ("go2rtc", "go2rtc/go2rtc.yaml")]
)
def test_example_takes_from_the_environment_what_compose_gives(
    compose: Any, name: str, file: str
) -> None:
    text = (ROOT / "examples" / file).read_text()
    names = set(re.findall(r"\{([A-Z][A-Z0-9_]+)\}", text))
    assert names == set(compose["services"][name]["environment"])


def test_frigate_is_found_where_the_service_looks_for_it(compose: Any, frigate: Any) -> None:
    environment = compose["services"]["moondream2mqtt"]["environment"]
    assert environment["MOONDREAM2MQTT__FRIGATE__URL"] == "http://frigate:5000"
    assert "frigate" in compose["services"]
    assert frigate["mqtt"]["host"] in compose["services"]
    # The service and Frigate agree about the prefix, which neither example sets.
    assert "topic_prefix" not in frigate["mqtt"]
    assert load_settings().frigate.topic_prefix == "frigate"


def test_frigate_has_its_account_and_listener(frigate: Any) -> None:
    acl = (ROOT / "mosquitto/acl").read_text()
    assert f"\nuser {frigate['mqtt']['user']}\n" in acl
    listeners = re.findall(
        r"^listener (\d+)", (ROOT / "mosquitto/mosquitto.conf").read_text(), re.M
    )
    assert str(frigate["mqtt"]["port"]) in listeners


def test_frigate_keeps_snapshots_and_leaves_the_words_to_us(frigate: Any) -> None:
    assert frigate["snapshots"]["enabled"] is True
    assert frigate["objects"]["genai"]["enabled"] is False


def test_example_of_triggers_is_valid_settings() -> None:
    if "triggers" not in Settings.model_fields:
        pytest.skip("there are no triggers yet")
    assert load_settings(ROOT / "examples/go2rtc/moondream2mqtt.yaml")
