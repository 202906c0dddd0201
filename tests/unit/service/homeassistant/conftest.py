from collections.abc import Iterator

import pytest

from tests.support.discovery import SCHEMA_PYTHON, HomeAssistantSchemas


@pytest.fixture(scope="session")
def home_assistant() -> Iterator[HomeAssistantSchemas]:
    if not SCHEMA_PYTHON.exists():
        pytest.skip("Home Assistant's schemas are not here: make homeassistant-schema")
    with HomeAssistantSchemas() as schemas:
        yield schemas
