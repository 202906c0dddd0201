"""What is refused or doubted before anything is opened; the sentences are held in the integration
tests of `serve` and `doctor`."""

from typing import Any

import pytest

from service.settings import Settings
from service.startup import doubts, refusals


def settings_of(**content: Any) -> Settings:
    return Settings.model_validate(content)


def test_defaults_are_beyond_doubt() -> None:
    assert (list(refusals(Settings())), list(doubts(Settings()))) == ([], [])


def test_every_refusal_is_told_not_only_the_first() -> None:
    settings = settings_of(
        webhooks={"url": "ftp://a/", "secret": "no base64!", "allow_hosts": ["a/b"]},
        fetch={"allow_hosts": ["c/d"]},
        cameras={"door": {"webhook_url": "nonsense", "snapshot_url": "rtsp://a/"}},
    )
    assert [str(each).partition(":")[0] for each in refusals(settings)] == [
        "webhooks.url",
        "cameras.door.webhook_url",
        "cameras.door.snapshot_url",
        "webhooks.secret",
        "webhooks.allow_hosts",
        "fetch.allow_hosts",
    ]


def test_doubts_are_told_beside_refusals() -> None:
    """A key that cannot be read is no reason to be silent of the rest."""
    settings = settings_of(webhooks={"secret": "no base64!"}, mqtt={"password": "hunter2"})
    assert [each.setting for each in doubts(settings)] == ["mqtt.password"]
    assert "hunter2" not in "".join(map(str, doubts(settings)))


@pytest.mark.parametrize(
    ("mqtt", "setting"),
    [
        ({"port": 8883}, "mqtt.port"),
        ({"port": 1883, "tls": {"enabled": True}}, "mqtt.port"),
        ({"tls": {"key_file": "/x"}}, "mqtt.tls"),
    ],
)
def test_tls_that_is_half_set_up_is_doubted(mqtt: dict[str, Any], setting: str) -> None:
    assert [each.setting for each in doubts(settings_of(mqtt=mqtt))] == [setting]
