"""The commands' connection; that it connects is tested with a real broker."""

from pathlib import Path

import pytest

from service.commands.client import connect
from service.errors import ConfigurationError
from service.settings import MqttSettings


async def test_certificate_that_cannot_be_read_is_a_wrong_setting(tmp_path: Path) -> None:
    """As for `serve`: the command ends with 2."""
    mqtt = MqttSettings.model_validate(
        {"port": 1, "tls": {"enabled": True, "ca_file": tmp_path / "missing"}}
    )
    with pytest.raises(ConfigurationError, match=r"^mqtt\.tls: "):
        async with connect(mqtt):
            pass
