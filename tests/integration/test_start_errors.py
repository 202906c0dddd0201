"""What keeps the service from starting is one line that says what to do, and never a secret."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from service.cli import main
from tests.integration.test_commands import Ended, run_command
from tests.support.small_disk import DiskUnavailableError, a_small_disk

pytestmark = pytest.mark.timeout(180)

SECRET = "hunter2-and-some-more"  # noqa: S105 - must not be shown


@dataclass(frozen=True, slots=True)
class Case:
    """A start that cannot be."""

    says: str  #: the line begins like this
    code: int = 2
    variables: dict[str, str] = field(default_factory=dict)
    config: str | bytes | None = None


CASES = {
    "list-in-variable": Case(
        "MOONDREAM2MQTT__SOURCES: must be JSON", variables={"SOURCES": f"not {SECRET}"}
    ),
    "mapping-in-variable": Case(
        "MOONDREAM2MQTT__CAMERAS: must be JSON", variables={"CAMERAS": f"{{{SECRET}"}
    ),
    "number-in-variable": Case(
        "MOONDREAM2MQTT__QUEUE__MAX_AGE: queue.max_age: ", variables={"QUEUE__MAX_AGE": "inf"}
    ),
    "yaml": Case(
        "{config}: line 3, column 7: mapping values are not allowed here",
        config=f"mqtt:\n  password:{SECRET}\n  host: nvr\n",
    ),
    "list-for-mapping": Case("{config}: mqtt: ", config=f"mqtt: [{SECRET}]"),
    "bytes": Case("{config}: is not UTF-8 at byte 7", config=b"mqtt: \xff"),
    "infinity": Case("{config}: queue.max_age: ", config="queue: {max_age: .inf}"),
    "far-future": Case("{config}: dedupe.window: ", config="dedupe: {window: 1e11}"),
    "folder-is-file": Case(
        "data_dir {folder}/file: a file is in its way", variables={"DATA_DIR": "{folder}/file"}
    ),
    "folder-below-file": Case(
        "data_dir {folder}/file/data: a file is in its way",
        variables={"DATA_DIR": "{folder}/file/data"},
    ),
    "no-database": Case(
        "{folder}/no-database/jobs.sqlite3: file is not a database; move it",
        code=1,
        variables={"DATA_DIR": "{folder}/no-database"},
    ),
    "database-is-folder": Case(
        "store {folder}/folder/jobs.sqlite3: Is a directory",
        variables={"DATA_DIR": "{folder}/folder"},
    ),
    "url-of-store": Case(
        "store.url: must be sqlite:///path/of/file or postgresql://",
        variables={"STORE__URL": f"postgresql://me:{SECRET}@db:port/x"},
    ),
    "options-of-store": Case(
        "store.url: SQLite takes no options", variables={"STORE__URL": "sqlite:///{folder}/x?a=b"}
    ),
    "receiver": Case("webhooks.url: ", variables={"WEBHOOKS__URL": f"ftp://me:{SECRET}@host/x"}),
    "snapshot": Case(
        "cameras.door.snapshot_url: a URL must begin with http",
        variables={"CAMERAS": f'{{"door": {{"snapshot_url": "rtsp://me:{SECRET}@host/x"}}}}'},
    ),
    "trigger": Case(
        "MOONDREAM2MQTT__TRIGGERS: triggers.0: url: ",
        variables={"TRIGGERS": f'[{{"every": 9, "camera": "a", "url": "http://a:{SECRET}@b/"}}]'},
    ),
    "authority": Case(
        "triggers.0.ca_file: ",
        variables={
            "TRIGGERS": '[{"every": 9, "camera": "a", "url": "https://b/", "ca_file": "/missing"}]'
        },
    ),
    "host": Case(
        "fetch.allow_hosts: ", variables={"FETCH__ALLOW_HOSTS": f'["me:{SECRET}@host/x"]'}
    ),
    "signing": Case("webhooks.secret: ", variables={"WEBHOOKS__SECRET": f"{SECRET}!"}),
    "certificate": Case(
        "mqtt.tls: ",
        variables={"MQTT__TLS__ENABLED": "true", "MQTT__TLS__CA_FILE": "{folder}/missing"},
    ),
    "frigates-certificate": Case(
        "frigate.ca_file: ",
        variables={
            "FRIGATE__ENABLED": "true",
            "FRIGATE__URL": "https://frigate:8971",
            "FRIGATE__CA_FILE": "{folder}/missing",
        },
    ),
    "frigates-url": Case(
        "MOONDREAM2MQTT__FRIGATE__URL: frigate.url: ",
        variables={"FRIGATE__URL": f"http://me:{SECRET}@frigate:5000"},
    ),
    "pattern": Case(
        "MOONDREAM2MQTT__SOURCES: sources.0.topic: ",
        variables={"SOURCES": '[{"topic": "a/{camera}/{camera}"}]'},
    ),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With all that can be in the way."""
    (tmp_path / "file").touch()
    (tmp_path / "no-database").mkdir()
    (tmp_path / "no-database" / "jobs.sqlite3").write_bytes(b"no database at all" * 1000)
    (tmp_path / "folder" / "jobs.sqlite3").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def root_logger() -> Iterator[None]:
    """As it was, after a command that sets it up for itself."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


@pytest.mark.usefixtures("root_logger")
@pytest.mark.parametrize("name", CASES)
def test_start_that_cannot_be_is_one_line_with_the_reason(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    case = CASES[name]
    words, environment = invocation(folder, name, case)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    code = main(words)
    out, err = capsys.readouterr()
    assert is_right(Ended(code, out, err), case, says(folder, name, case)), err


def invocation(folder: Path, name: str, case: Case) -> tuple[list[str], dict[str, str]]:
    """Words and variables."""
    variables = {
        "DATA_DIR": f"{folder}/data-{name}",
        "MQTT__PORT": "1",
        "LOGGING__LEVEL": "error",
        **case.variables,
    }
    words = ["serve"]
    if case.config is not None:
        content = case.config if isinstance(case.config, bytes) else case.config.encode()
        (folder / f"{name}.yaml").write_bytes(content)
        words += ["--config", f"{folder}/{name}.yaml"]
    environment = {
        f"MOONDREAM2MQTT__{key}": value.replace("{folder}", str(folder))
        for key, value in variables.items()
    }
    return words, environment


def says(folder: Path, name: str, case: Case) -> str:
    text = case.says.replace("{config}", f"{folder}/{name}.yaml").replace("{folder}", str(folder))
    return f"moondream2mqtt: {text}"


def is_right(ended: Ended, case: Case, line: str) -> bool:
    return (
        ended.code == case.code
        and ended.out == ""
        and ended.err.startswith(line)
        and ended.err.count("\n") == 1
        and "hunter2" not in ended.err
    )


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    try:
        with a_small_disk(tmp_path / "disk", 4 << 20) as disk:
            disk.set_writable(is_writable=False)
            yield disk.folder
    except DiskUnavailableError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", ["", "data"])
async def test_start_in_a_read_only_folder_is_one_line(
    read_only: Path, tmp_path: Path, name: str
) -> None:
    folder = read_only / name
    case = Case("data_dir {folder}: Read-only file system", variables={"DATA_DIR": str(folder)})
    words, environment = invocation(tmp_path, "read-only", case)
    ended = await run_command(*words, environment=environment)
    assert is_right(ended, case, says(folder, "", case)), ended
