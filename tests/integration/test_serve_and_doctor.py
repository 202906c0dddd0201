"""What `serve` says of a wrong set-up, `doctor` says as well: the same sentence, all at once.

What ends `serve` is given to it one by one. `doctor`, and `serve` where it only limps, get as many
as have no setting in common, which shows as well that one problem hides no other.
"""

import asyncio
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from broker.embedded import EmbeddedBroker
from service.cli import main
from tests.integration.test_commands import FIXTURE, run_command, start_command
from tests.integration.test_start_errors import CASES as START_ERRORS
from tests.integration.test_start_errors import Case, invocation, root_logger

__all__ = ["root_logger"]
pytestmark = pytest.mark.timeout(180)

_PREFIX = "MOONDREAM2MQTT__"
_SAYS_S = 90.0  # generous: a loaded machine is no failure
#: What there is only one of, although several settings speak of it.
_THINGS = {
    **dict.fromkeys(("DATA_DIR", "STORE__URL"), "database"),
    **dict.fromkeys(("MQTT__HOST", "MQTT__PORT"), "address"),
}

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="  # noqa: S105 - of the tests


def variables(**settings: str) -> dict[str, str]:
    return settings


#: Refused at the start: `serve` ends, with 1 or 2.
REFUSED = {
    **{name: case for name, case in START_ERRORS.items() if case.config is None},
    "camera-receiver": Case(
        "cameras.door.webhook_url: a URL must begin with http",
        variables=variables(CAMERAS='{"door": {"webhook_url": "ftp://host/x"}}'),
    ),
    "receivers-hosts": Case(
        "webhooks.allow_hosts: ", variables=variables(WEBHOOKS__ALLOW_HOSTS='["a/b"]')
    ),
    "updates": Case(
        "homeassistant.updates_url: ", variables=variables(HOMEASSISTANT__UPDATES_URL="file:///x")
    ),
    "client-certificate": Case(
        "mqtt.tls: ",
        variables=variables(MQTT__TLS__ENABLED="true", MQTT__TLS__CERT_FILE="{folder}/file"),
    ),
    "newer-store": Case(
        "the store has schema 9999, written by a newer version",
        code=1,
        variables=variables(DATA_DIR="{folder}/newer"),
    ),
}
#: Of these, what is wrong with the settings themselves, so that `doctor` as well gets no further.
UNREADABLE = {name for name, case in REFUSED.items() if case.says.startswith(_PREFIX)}


@dataclass(frozen=True, slots=True)
class Limps:
    """A set-up with which `serve` starts, and says what will not work."""

    says: str
    level: str  #: of the line of `doctor`
    variables: Mapping[str, str] = field(default_factory=dict)


#: Said at the start, and some more of the kind are in the tests of `service.sources.overlaps`.
LIMPING = {
    "own-words": Limps(
        "sources.0.topic: the service itself publishes there",
        "note",
        variables(SOURCES='[{"topic": "moondream2mqtt/{camera}/caption"}]'),
    ),
    "own-frames": Limps(
        "sources.0.topic: the service's own frame topics are read without it",
        "note",
        variables(SOURCES='[{"topic": "moondream2mqtt/{camera}/frame"}]'),
    ),
    "twice": Limps(
        "sources.1.topic: all of it is read by sources.0",
        "note",
        variables(SOURCES='[{"topic": "a/+/{camera}"}, {"topic": "a/b/{camera}"}]'),
    ),
    "trigger-first": Limps(
        "sources.0.topic: all of it is read by triggers.0",
        "note",
        variables(
            SOURCES='[{"topic": "c/{camera}"}]',
            TRIGGERS='[{"topic": "c/{camera}", "url": "http://127.0.0.1:9/{camera}"}]',
        ),
    ),
    "frigate-first": Limps(
        "sources.0.topic: all of it is read by frigate",
        "note",
        variables(
            SOURCES='[{"topic": "frigate/{camera}/person/snapshot"}]', FRIGATE__ENABLED="true"
        ),
    ),
    "unused-certificates": Limps(
        "mqtt.tls: has certificates, and mqtt.tls.enabled is off",
        "note",
        variables(MQTT__TLS__CA_FILE="/missing"),
    ),
    "unused-password": Limps(
        "mqtt.password: is not sent without mqtt.username",
        "note",
        variables(MQTT__PASSWORD="hunter2"),  # noqa: S106 - must not be shown
    ),
    "weak-secret": Limps(
        "webhooks.secret: has a key of less than 24 bytes",
        "note",
        variables(WEBHOOKS__SECRET="whsec_MDEyMw=="),  # noqa: S106
    ),
    "discovery": Limps(
        "homeassistant.discovery_prefix: is mqtt.base_topic as well",
        "note",
        variables(HOMEASSISTANT__DISCOVERY_PREFIX="moondream2mqtt"),
    ),
    "no-folder": Limps(
        "cannot be read: No such file or directory",
        "TODO",
        variables(FOLDERS='[{"path": "/missing/folder"}]'),
    ),
    "no-device": Limps(
        "no CUDA device 99 here; is its driver loaded?",
        "TODO",
        variables(MODEL__DEVICE="cuda:99"),
    ),
    "no-format": Limps(
        "model.quantization: int4 needs CUDA and bfloat16, not cpu in float32: set it to int8",
        "TODO",
        variables(MODEL__QUANTIZATION="int4", MODEL__DEVICE="cpu", MODEL__DTYPE="float32"),
    ),
    "no-compiler": Limps(
        "model.compile needs a C++ compiler, and no-such-compiler was not found: the passes run",
        "note",
        variables(MODEL__COMPILE="true", MODEL__DEVICE="cpu", CXX="no-such-compiler"),
    ),
    "no-model": Limps(
        "model {folder}/no-model: no such folder",
        "TODO",
        variables(MODEL__NAME="{folder}/no-model", MODEL__DEVICE="cpu"),
    ),
    "half-a-model": Limps(
        "{folder}/half/model-2.safetensors: not a readable safetensors file",
        "TODO",
        variables(MODEL__NAME="{folder}/half", MODEL__DEVICE="cpu"),
    ),
    "other-weights": Limps(
        "{folder}/other: tensors do not fit config.json",
        "TODO",
        variables(MODEL__NAME="{folder}/other", MODEL__DEVICE="cpu"),
    ),
    "no-broker": Limps(
        "Connection refused: check mqtt.host and mqtt.port", "TODO", variables(MQTT__PORT="1")
    ),
    "no-host": Limps(
        "mqtt.host: 'no.such.host.invalid' cannot be resolved",
        "TODO",
        variables(MQTT__HOST="no.such.host.invalid"),
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With all that can be in the way."""
    folder = tmp_path_factory.mktemp("wrong")
    (folder / "file").touch()
    for name in ("no-database", "newer", "folder/jobs.sqlite3"):
        (folder / name).mkdir(parents=True)
    (folder / "no-database" / "jobs.sqlite3").write_bytes(b"no database at all" * 1000)
    with sqlite3.connect(folder / "newer" / "jobs.sqlite3") as database:
        database.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        database.execute("INSERT INTO alembic_version VALUES ('9999')")
    database.close()
    _make_models(folder)
    return folder


def _make_models(folder: Path) -> None:
    for name in ("half", "other"):
        shutil.copytree(FIXTURE, folder / name)
    weights = folder / "half" / "model.safetensors"
    weights.unlink()
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    weights.with_name("model.safetensors.index.json").write_text(json.dumps(index))
    shutil.copy(FIXTURE / "model.safetensors", weights.with_name("model-1.safetensors"))
    config = json.loads((folder / "other" / "config.json").read_text())
    config["text"]["layers"] += 1
    (folder / "other" / "config.json").write_text(json.dumps(config))


# -- refused -------------------------------------------------------------------------------------


def groups(cases: Mapping[str, Mapping[str, str]]) -> list[set[str]]:
    """Cases that can be put together: no two of a group speak of one thing."""
    found: list[tuple[set[str], set[str]]] = []
    for name, given in cases.items():
        things = {_THINGS.get(key, key) for key in given}
        for names, taken in found:
            if not things & taken:
                names.add(name)
                taken |= things
                break
        else:
            found.append(({name}, things))
    return [names for names, _ in found]


TOGETHER = groups(
    {name: each.variables for name, each in REFUSED.items() if name not in UNREADABLE}
)
_SAID: dict[frozenset[str], tuple[int, str]] = {}


def doctor_of(folder: Path, names: set[str]) -> tuple[int, str]:
    """Exit code and report of a set-up with all that is wrong with these."""
    key = frozenset(names)
    if key not in _SAID:
        together = {k: v for name in names for k, v in REFUSED[name].variables.items()}
        case = replace(REFUSED[next(iter(names))], variables=together)
        _, environment = invocation(folder, "-".join(sorted(names))[:50], case)
        ended = subprocess.run(
            [sys.executable, "-m", "service", "doctor"],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
        _SAID[key] = ended.returncode, ended.stdout
    return _SAID[key]


@pytest.mark.usefixtures("root_logger")
@pytest.mark.parametrize("name", REFUSED)
def test_what_ends_serve_is_a_line_of_doctor(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    case = REFUSED[name]
    words, environment = invocation(folder, name, case)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    assert main(words) == case.code
    sentence = capsys.readouterr().err.removeprefix("moondream2mqtt: ").strip()
    assert sentence.startswith(case.says.replace("{folder}", str(folder)))
    together = next((each for each in TOGETHER if name in each), {name})
    code, report = doctor_of(folder, together)
    assert code == (2 if name in UNREADABLE else 1)
    told = [line for line in report.splitlines() if sentence in line]
    assert [line[:4] for line in told] == ["TODO"], report
    assert "hunter2" not in report


def test_enough_set_ups_are_tried() -> None:
    assert len(REFUSED) + len(LIMPING) >= 25


# -- limping -------------------------------------------------------------------------------------


TOGETHER_LIMPING = groups({name: each.variables for name, each in LIMPING.items()})


def environment_of(
    names: set[str], folder: Path, data_dir: Path, broker: EmbeddedBroker
) -> dict[str, str]:
    given = {
        "MQTT__PORT": str(broker.port),
        "MODEL__NAME": str(FIXTURE),
        "MODEL__DEVICE": "cpu",
        "DATA_DIR": str(data_dir),
        "STORE__MIN_FREE_BYTES": "0",
        "STORE__MAX_BYTES": str(16 << 20),
        "LOGGING__LEVEL": "warning",
    }
    for name in names:
        given |= LIMPING[name].variables
    return {
        key if key == "CXX" else f"{_PREFIX}{key}": value.replace("{folder}", str(folder))
        for key, value in given.items()
    }


async def unsaid_by_serve(environment: dict[str, str], sentences: set[str]) -> set[str]:
    """What the service has not said before it ends, or for a long time."""
    process = await start_command("serve", environment=environment)
    assert process.stderr is not None
    try:
        async with asyncio.timeout(_SAYS_S):
            while sentences and (line := (await process.stderr.readline()).decode()):
                sentences = {each for each in sentences if each not in line}
    except TimeoutError:
        pass
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()
    return sentences


@pytest.mark.parametrize("names", TOGETHER_LIMPING, ids=lambda names: "+".join(sorted(names)))
async def test_what_serve_complains_of_is_a_line_of_doctor(
    folder: Path, tmp_path: Path, own_mosquitto: EmbeddedBroker, names: set[str]
) -> None:
    environment = environment_of(names, folder, tmp_path / "data", own_mosquitto)
    says = {LIMPING[name].says.replace("{folder}", str(folder)): name for name in names}
    assert await unsaid_by_serve(environment, set(says)) == set()
    ended = await run_command("doctor", environment=environment)
    for sentence, name in says.items():
        told = [line for line in ended.out.splitlines() if sentence in line]
        assert [line[:4] for line in told] == [LIMPING[name].level], ended.out
    is_ok = all(LIMPING[name].level == "note" for name in names)
    assert ended.code == (0 if is_ok else 1), ended.out
    assert "hunter2" not in ended.out + ended.err
    assert ended.err == ""
