"""The whole corpus against one service: every answer as expected, nobody harmed."""

from pathlib import Path

import pytest

from broker.embedded import BrokerProgram
from tests.hostile.conftest import REPORT
from tests.hostile.corpus import corpus
from tests.hostile.run import try_all

_LEAST_PAYLOADS = 300


def test_corpus_is_as_large_as_promised() -> None:
    found = corpus()
    num_payloads = sum(len(case.shots) for cases in found.values() for case in cases)
    assert num_payloads >= _LEAST_PAYLOADS
    assert min(map(len, found.values())) >= 20


@pytest.mark.timeout(1200)  # a minute, but not on a machine that is busy with other things
async def test_every_hostile_message_is_answered_and_harms_nobody(
    mosquitto_program: BrokerProgram, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    report = await try_all(tmp_path, corpus(), is_full=False, program=mosquitto_program)
    request.config.stash[REPORT] = report
    assert report.is_clean, report.faults()
