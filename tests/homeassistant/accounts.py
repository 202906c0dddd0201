"""A broker with the accounts and rules that ship with the service."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.homeassistant.environments import ROOT
from tests.support.mosquitto import mosquitto_passwd_or_skip

_RULES = ROOT / "mosquitto" / "acl"
#: Sees and sends everything, in the place of cameras and of whoever looks on.
_EVERYTHING = "\nuser tester\ntopic readwrite #\n"


@dataclass(frozen=True, slots=True)
class Account:
    """Who somebody is for the broker."""

    username: str
    password: str = "secret"  # noqa: S105 - of a broker that lives as long as a test


SERVICE = Account("moondream2mqtt")
HOME_ASSISTANT = Account("homeassistant")
TESTER = Account("tester")


def guarded(folder: Path) -> tuple[str, ...]:
    """Make accounts and rules, and return the lines of Mosquitto's configuration that use them."""
    passwd = mosquitto_passwd_or_skip()
    folder.mkdir(parents=True)
    passwords, rules = folder / "passwd", folder / "acl"
    passwords.touch(0o600)
    for account in (SERVICE, HOME_ASSISTANT, TESTER):
        command = [passwd, "-b", str(passwords), account.username, account.password]
        subprocess.run(command, check=True, capture_output=True)
    rules.write_text(_RULES.read_text(encoding="utf-8") + _EVERYTHING, encoding="utf-8")
    return ("allow_anonymous false", f"password_file {passwords}", f"acl_file {rules}")
