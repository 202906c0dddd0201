"""One Frigate of each release for all tests."""

from collections.abc import Iterator

import pytest

from tests.frigate.real_frigate import RELEASES, RealFrigate


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "frigate" in item.path.parts:
            item.add_marker(pytest.mark.timeout(300))


@pytest.fixture(scope="session", params=RELEASES)
def frigate(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RealFrigate]:
    """It runs; a test that stops it starts it again."""
    made = RealFrigate(request.param, tmp_path_factory.mktemp("frigate"))
    made.start()
    yield made
    made.stop()
