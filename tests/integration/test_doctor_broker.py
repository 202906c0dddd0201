"""What `doctor` says of the broker: reached or not, and which topic it does not let us have."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from broker.connection import Connection
from broker.embedded import BrokerProgram, EmbeddedBroker
from broker.options import ConnectionOptions, Subscription
from service.commands.checks.broker import check_broker, published, subscriptions
from service.commands.checks.finding import Finding
from service.settings import Settings
from tests.integration.test_refused_subscriptions import refusing_broker
from tests.support.quick_service import serving

ALL_SOURCES: dict[str, Any] = {
    "sources": [
        {"topic": "ring/+/camera/{camera}/snapshot", "attributes": "ring/{camera}/info"},
        {"topic": "attic/picture", "camera": "attic"},
    ],
    "triggers": [{"topic": "neolink/{camera}/status/motion", "url": "http://127.0.0.1:1/"}],
    "frigate": {"enabled": True},
}


def settings_of(port: int, **content: Any) -> Settings:
    mqtt = {"port": port, **content.pop("mqtt", {})}
    return Settings.model_validate({"mqtt": mqtt, **content})


def write_rules(folder: Path, rules: str) -> Path:
    path = folder / "acl"
    path.write_text(rules)
    return path


@asynccontextmanager
async def broker_with(
    program: BrokerProgram, folder: Path, rules: str
) -> AsyncIterator[EmbeddedBroker]:
    lines = [f"acl_file {write_rules(folder, rules)}"]
    async with EmbeddedBroker(folder, program=program, extra_lines=lines) as broker:
        yield broker


def todo(findings: list[Finding]) -> list[str]:
    return [each.text for each in findings if each.level == "TODO"]


async def test_broker_that_allows_all_is_one_line(mosquitto: EmbeddedBroker) -> None:
    [finding] = await check_broker(settings_of(mosquitto.port))
    assert (finding.part, finding.level) == ("broker", "ok")
    assert finding.text.startswith(f"127.0.0.1:{mosquitto.port}, MQTT 5, mosquitto version")


async def test_topics_that_may_not_be_published_are_named_with_the_line_to_add(
    mosquitto_program: BrokerProgram, tmp_path: Path
) -> None:
    rules = "topic read #\ntopic write moondream2mqtt/bridge/#\ntopic write moondream2mqtt/+/status"
    async with broker_with(mosquitto_program, tmp_path, rules) as broker:
        found = todo(await check_broker(settings_of(broker.port)))
    assert [text.rpartition("`topic ")[2] for text in found] == [
        "write moondream2mqtt/+/caption`",
        "write moondream2mqtt/+/settings`",
        "write moondream2mqtt/+/image`",
        "write homeassistant/+/+/config`",
    ]


async def test_refused_subscription_is_named_with_the_line_to_add() -> None:
    async with refusing_broker() as port:
        source = {"topic": "no/{camera}"}
        found = await check_broker(settings_of(port, mqtt={"protocol": "3.1.1"}, sources=[source]))
    assert todo(found) == [
        "refuses the subscription to no/+: allow it to mqtt.username, with Mosquitto by "
        "`topic read no/+`"
    ]
    assert "which does not say what we may not publish" in found[0].text


async def test_nobody_hears_anything_new(mosquitto: EmbeddedBroker, topic_base: str) -> None:
    """What is retained stays, and is said again to who listens."""
    async with aiomqtt.Client(mosquitto.host, mosquitto.port) as client:
        for name, payload in (("state", "online"), ("info", '{"version": "1"}')):
            await client.publish(f"{topic_base}/bridge/{name}", payload, qos=1, retain=True)
        await client.subscribe(f"{topic_base}/bridge/#", qos=1)
        await check_broker(settings_of(mosquitto.port, mqtt={"base_topic": topic_base}))
        await client.publish(f"{topic_base}/bridge/over", b"", qos=1)
        heard: dict[str, set[bytes]] = {}
        async for message in client.messages:
            name = message.topic.value.removeprefix(f"{topic_base}/bridge/")
            if name == "over":
                break
            heard.setdefault(name, set()).add(bytes(message.payload))
    assert (heard["state"], heard["info"]) == ({b"online"}, {b'{"version": "1"}'})
    async with aiomqtt.Client(mosquitto.host, mosquitto.port) as late:
        await late.subscribe(f"{topic_base}/bridge/state", qos=1)
        async for message in late.messages:
            assert bytes(message.payload) == b"online"
            break


async def test_nothing_is_left_on_the_broker(mosquitto: EmbeddedBroker, topic_base: str) -> None:
    """A session would collect frames for who never comes back."""
    for protocol in ("5", "3.1.1"):
        options = ConnectionOptions(
            host=mosquitto.host,
            port=mosquitto.port,
            client_id=f"leaves-{protocol.replace('.', '')}",
            protocol=protocol,
            keeps_session=False,
        )
        states = []
        for _ in range(2):
            async with Connection(options, [Subscription(f"{topic_base}/#")]) as connection:
                await connection.wait_connected()
                states.append(connection.state.session_present)
        assert states == [False, False]


@pytest.mark.parametrize(
    ("mqtt", "says"),
    [
        ({"port": 1}, "Connection refused: check mqtt.host and mqtt.port"),
        ({"host": "no.such.host.invalid"}, "cannot be resolved"),
    ],
)
async def test_broker_that_cannot_be_reached_is_said_as_the_service_says_it(
    mqtt: dict[str, Any], says: str
) -> None:
    [finding] = await check_broker(Settings.model_validate({"mqtt": mqtt}))
    assert finding.level == "TODO"
    assert says in finding.text


async def test_wrong_account_names_the_settings(
    mosquitto_program: BrokerProgram, tmp_path: Path
) -> None:
    lines = [f"password_file {tmp_path}/passwd"]
    (tmp_path / "passwd").write_text("")
    own = EmbeddedBroker(tmp_path / "b", program=mosquitto_program, extra_lines=lines)
    async with own as broker:
        mqtt = {"username": "me", "password": "hunter2"}
        [finding] = await check_broker(settings_of(broker.port, mqtt=mqtt))
    assert "check mqtt.username and mqtt.password" in finding.text
    assert "hunter2" not in finding.text


async def test_doctor_subscribes_to_what_the_service_subscribes_to(
    mosquitto: EmbeddedBroker, topic_base: str, tmp_path: Path
) -> None:
    settings = settings_of(
        mosquitto.port, mqtt={"base_topic": topic_base}, data_dir=tmp_path, **ALL_SOURCES
    )
    made: list[Subscription] = []
    async with serving(settings, tmp_path, note_subscriptions=made.extend):
        pass
    assert {each.topic_filter for each in made} == {
        each.topic_filter for each in subscriptions(settings)
    }


def test_each_kind_of_topic_is_tried() -> None:
    tried = dict(published(Settings()))
    assert tried["moondream2mqtt/doctor/caption"] == "moondream2mqtt/+/caption"
    assert tried["moondream2mqtt/bridge/state"] == "moondream2mqtt/bridge/state"
    assert not any(character in topic for topic in tried for character in "+#")
