"""A house for each version of Home Assistant that `make test-homeassistant` asks for."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from broker.embedded import BrokerProgram
from tests.homeassistant.environments import Version, chosen
from tests.homeassistant.home import Home, a_home, skip_old
from tests.homeassistant.house import House, a_house

_WHY = "needs Home Assistant in environments of its own: make test-homeassistant"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "version" in metafunc.fixturenames:
        versions = chosen()
        marks = [] if versions else [pytest.mark.skip(reason=_WHY)]
        params = [pytest.param(each, id=each.number) for each in versions]
        metafunc.parametrize(
            "version", params or [pytest.param(None, id="none", marks=marks)], scope="session"
        )


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def house(
    version: Version, mosquitto_program: BrokerProgram, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[House]:
    """One for all tests of a version; each leaves everything running."""
    if not version.is_installed:
        pytest.skip(f"Home Assistant {version.number} needs Python {version.python}")
    async with a_house(tmp_path_factory.mktemp("house"), mosquitto_program, version) as made:
        yield made


@pytest_asyncio.fixture(autouse=True, loop_scope="session")
async def silence(house: House) -> AsyncIterator[None]:
    """A test fails in which Home Assistant's integrations complain about anything."""
    yield
    await house.core.take_log()
    complaints, house.core.complaints = house.core.complaints, []
    assert not [each for each in complaints if not house.is_expected(each)]


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
