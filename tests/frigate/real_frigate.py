"""A real Frigate for tests: its source at a release, and a process that runs it."""

import os
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

RELEASES = ("0.16.4", "0.17.2", "0.18.0-beta1")
PASSWORD = "secret"  # noqa: S105 - see application.py

_ROOT = Path(__file__).resolve().parents[2]
_ENVIRONMENT = _ROOT / ".venv-frigate"
_START_S = 60.0


def source_of(release: str) -> Path:
    """Frigate's source at a release; skips the test where it cannot be had."""
    repository = os.environ.get("FRIGATE_SOURCE")
    if repository is None or not (_ENVIRONMENT / ".ready").exists():
        pytest.skip("needs Frigate's own environment and source: make test-frigate")
    folder = _ENVIRONMENT / "source" / release
    if (folder / "migrations").exists():
        return folder
    if "://" in repository:
        repository = str(_clone(repository, release))
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder.with_suffix(".tar")
    tree = f"v{release}"
    _run("git", "-C", repository, "archive", "-o", str(archive), tree, "frigate", "migrations")
    _run("tar", "-x", "-f", str(archive), "-C", str(folder))
    archive.unlink()
    return folder


def _clone(url: str, release: str) -> Path:
    folder = _ENVIRONMENT / "source" / f"{release}.git"
    if not folder.exists():
        _run("git", "clone", "-q", "--bare", "--depth", "1", "-b", f"v{release}", url, str(folder))
    return folder


def _run(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=300)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"Frigate's source cannot be had: {error}")


def _two_free_ports() -> int:
    """The first of two neighbours that nobody listens on."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
        return port


@dataclass
class RealFrigate:
    """One Frigate, started and killed; its database and its ports stay the same.

    Attributes:
        open_url: Without login, as port 5000.
        login_url: With login, as port 8971 (without TLS); accounts `admin` and `viewer`.
    """

    release: str
    folder: Path

    def __post_init__(self) -> None:
        self._source = source_of(self.release)
        self._port = _two_free_ports()
        self._process: subprocess.Popen[bytes] | None = None
        self.open_url = f"http://127.0.0.1:{self._port}"
        self.login_url = f"http://127.0.0.1:{self._port + 1}"
        self.folder.mkdir(parents=True, exist_ok=True)

    def start(self) -> None:
        """Return when it answers."""
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        if self.release.startswith("0.16."):
            environment["PYTHONPATH"] = str(_ENVIRONMENT / "older")
        command = [str(_ENVIRONMENT / "bin" / "python"), f"{Path(__file__).parent}/application.py"]
        with (self.folder / "frigate.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, str(self._source), str(self.folder), str(self._port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
            )
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                if httpx.get(f"{self.open_url}/api/version", trust_env=False).status_code == 200:
                    return
            except httpx.HTTPError:
                time.sleep(0.1)
        raise AssertionError((self.folder / "frigate.log").read_text()[-3000:])

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def forget_sessions(self) -> None:
        """Let no session of before hold; while it is stopped."""
        (self.folder / "config" / ".jwt_secret").unlink()

    def hears(self, event_id: str, kind: str, **more: Any) -> None:
        """A tracked object appears, moves or leaves, as its detectors say it."""
        said = {"id": event_id, "type": kind, **more}
        answer = httpx.post(f"{self.open_url}/__test/event", json=said, trust_env=False, timeout=30)
        assert answer.status_code == 200, answer

    def event(self, event_id: str) -> dict[str, Any]:
        """As its database has it."""
        answer = httpx.get(f"{self.open_url}/api/events/{event_id}", trust_env=False, timeout=30)
        assert answer.status_code == 200, answer
        found: dict[str, Any] = answer.json()
        return found

    def descriptions(self) -> dict[str, str | None]:
        """Of all objects."""
        answer = httpx.get(f"{self.open_url}/api/events?limit=500", trust_env=False, timeout=30)
        return {each["id"]: each["data"].get("description") for each in answer.json()}
