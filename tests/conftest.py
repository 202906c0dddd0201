"""A real broker for whoever asks for one, and one thread for torch."""

import gc
import os
import signal
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import hypothesis
import pytest
import pytest_asyncio

from broker.embedded import BrokerProgram, EmbeddedBroker
from tests.support.certificates import Certificate, make_certificate
from tests.support.mosquitto import mosquitto_or_skip

# What is imported and collected stays to the end. To look for garbage in it meanwhile would take
# seconds, and after it every full collection would look through all of it again.
gc.disable()

# A shell that starts the tests in the background lets them ignore SIGINT, and all they start would
# inherit that: Ctrl-C could not be tested.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Whoever runs the tests may have a config.yaml of their own; commands of the tests do not read it.
os.environ["MOONDREAM2MQTT_CONFIG"] = ""

# A deadline would measure how busy the machine is.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

# Before torch is imported, and for the processes that tests start: their models are too small to
# share. A second thread only waits for the first, ten times as long on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def mosquitto_program() -> BrokerProgram:
    return mosquitto_or_skip()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def mosquitto(
    mosquitto_program: BrokerProgram, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[EmbeddedBroker]:
    """One broker for all tests: each keeps to its own `topic_base` and client ids."""
    folder = tmp_path_factory.mktemp("mosquitto")
    async with EmbeddedBroker(folder, program=mosquitto_program) as broker:
        yield broker


@pytest_asyncio.fixture
async def own_mosquitto(
    mosquitto_program: BrokerProgram, tmp_path: Path
) -> AsyncIterator[EmbeddedBroker]:
    """A broker of the test's own, to be stopped, killed and started again."""
    async with EmbeddedBroker(tmp_path / "mosquitto", program=mosquitto_program) as broker:
        yield broker


@pytest.fixture(scope="session")
def https_certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """For localhost and hooks.test."""
    return make_certificate(tmp_path_factory.mktemp("certificate"), "localhost", "hooks.test")


@pytest.fixture
def topic_base() -> str:
    """A base topic nobody else uses."""
    return f"test/{uuid.uuid4().hex[:12]}"
