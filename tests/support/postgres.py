"""A PostgreSQL server of our own, from the binaries of Debian's package."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_START_TIMEOUT_S = 50.0


class PostgresUnavailableError(Exception):
    """It cannot be started here; the message is the reason to skip."""


@dataclass
class Postgres:
    """A server on 127.0.0.1 that trusts everyone; its databases are thrown away."""

    binaries: Path
    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    def url(self, name: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{name}"

    def create(self, name: str) -> str:
        """Create an empty database and return its URL."""
        self._client("createdb", name)
        return self.url(name)

    def start(self) -> None:
        options = {"fsync": "off", "listen_addresses": "127.0.0.1", "max_connections": "30"}
        command = [
            *_as_nobody_special(),
            str(self.binaries / "postgres"),
            *("-D", str(self.folder), "-p", str(self.port), "-k", str(self.folder)),
            *(f"--{name}={value}" for name, value in options.items()),
        ]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise PostgresUnavailableError((self.folder / "log").read_text()[-500:])
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Cut all connections and end: in order, or with SIGQUIT as after a crash but sooner."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(_START_TIMEOUT_S)
            self.process = None

    def _answers(self) -> bool:
        asked = subprocess.run(
            [self.binaries / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)],
            check=False,
        )
        return asked.returncode == 0

    def _client(self, program: str, *arguments: str) -> None:
        where = ("-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres")
        subprocess.run([self.binaries / program, *where, *arguments], check=True)


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Start a server in a folder of its own and stop it afterwards.

    Raises:
        PostgresUnavailableError: There is none, or it does not start.
    """
    binaries = _find_binaries()
    folder = Path(tempfile.mkdtemp(prefix="moondream2mqtt-postgres-"))
    try:
        if os.geteuid() == 0:
            user = _unprivileged()
            os.chown(folder, user.pw_uid, user.pw_gid)
        made = subprocess.run(
            [
                *_as_nobody_special(),
                str(binaries / "initdb"),
                *("-D", str(folder / "data"), "-U", "postgres", "-A", "trust", "-N"),
                *("-E", "UTF8", "--locale=C"),
            ],
            capture_output=True,
            check=False,
        )
        if made.returncode:
            raise PostgresUnavailableError(f"initdb: {made.stderr.decode()[-500:]}")
        server = Postgres(binaries, folder / "data", _free_port())
        server.start()
        try:
            yield server
        finally:
            server.stop(signal.SIGQUIT)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _find_binaries() -> Path:
    installed = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda each: int(each.parent.name)
    )
    if installed:
        return installed[-1]
    on_path = shutil.which("postgres")
    if on_path is None:
        raise PostgresUnavailableError("PostgreSQL is not installed (apt install postgresql)")
    return Path(on_path).resolve().parent


def _unprivileged() -> pwd.struct_passwd:
    """PostgreSQL refuses to run as root."""
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise PostgresUnavailableError("no account to run PostgreSQL with")


def _as_nobody_special() -> list[str]:
    follow_us = "--pdeathsig=QUIT"  # not to be left behind when the tests are killed
    if os.geteuid() != 0:
        return ["setpriv", follow_us]
    user = _unprivileged()
    ids = (f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}")
    return ["setpriv", follow_us, *ids, "--clear-groups"]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
