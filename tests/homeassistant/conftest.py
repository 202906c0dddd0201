"""A house for each version of Home Assistant that `make test-homeassistant` asks for."""

import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from broker.embedded import BrokerProgram
from tests.homeassistant.environments import Version, chosen
from tests.homeassistant.home import Home, a_home, skip_old
from tests.homeassistant.house import House, a_house

_SEEN = pytest.StashKey[dict[str, str]]()  # a line about each version
_WHY = "needs Home Assistant in environments of its own: make test-homeassistant"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "version" in metafunc.fixturenames:
        versions = chosen()
        marks = [] if versions else [pytest.mark.skip(reason=_WHY)]
        params = [pytest.param(each, id=each.number) for each in versions]
        metafunc.parametrize(
            "version", params or [pytest.param(None, id="none", marks=marks)], scope="session"
        )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_SEEN] = {}


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """What was seen, for whoever tells of it."""
    passed = [report.nodeid for report in terminalreporter.getreports("passed")]
    for number, line in config.stash[_SEEN].items():
        num_passed = sum(f"[{number}" in nodeid for nodeid in passed)
        terminalreporter.write_line(f"Home Assistant {number}: {num_passed} tests passed, {line}")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def house(
    version: Version,
    mosquitto_program: BrokerProgram,
    tmp_path_factory: pytest.TempPathFactory,
    pytestconfig: pytest.Config,
) -> AsyncIterator[House]:
    """One for all tests of a version; each leaves everything running."""
    seen = pytestconfig.stash[_SEEN]
    if not version.is_installed:
        seen[version.number] = f"because there is no Python {version.python}"
        pytest.skip(f"Home Assistant {version.number} needs Python {version.python}")
    async with a_house(tmp_path_factory.mktemp("house"), mosquitto_program, version) as made:
        began = time.monotonic()
        yield made
        entities, devices = await made.core.entities(), await made.core.devices()
        seen[version.number] = (
            f"{time.monotonic() - began:.0f} s, discovery of {version.discovery}, "
            f"{len(entities)} entities of {len(devices)} devices, {made.core.num_starts} starts"
        )


@pytest_asyncio.fixture(autouse=True, loop_scope="session")
async def silence(house: House) -> AsyncIterator[None]:
    """A test fails in which Home Assistant's integrations complain about anything.

    What a test provokes itself stands in `House.expected`.
    """
    yield
    complaints = await house.complaints()
    await house.heal()
    assert not complaints, "\n".join(complaints)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def home_of_version(
    version: Version, mosquitto_program: BrokerProgram, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Home]:
    """One for all tests of blueprints."""
    if not version.is_installed:
        pytest.skip(f"Home Assistant {version.number} needs Python {version.python}")
    skip_old(version)
    async with a_home(tmp_path_factory.mktemp("home"), mosquitto_program, version) as made:
        yield made


@pytest.fixture
def home(home_of_version: Home) -> Home:
    """The same for all, with nothing asked."""
    home_of_version.service.asked.clear()
    home_of_version.service.describe = None
    return home_of_version
