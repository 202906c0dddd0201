"""The whole corpus against one service: every answer as expected, nobody harmed.

Each message is sent once; `make soak` sends each with both versions of MQTT at every QoS.
"""

from collections import Counter
from pathlib import Path

import pytest

from broker.embedded import BrokerProgram
from tests.hostile.case import Case
from tests.hostile.conftest import REPORT
from tests.hostile.corpus import corpus
from tests.hostile.run import try_all
from tests.hostile.trial import plan

_LEAST_PAYLOADS = 300


@pytest.fixture(scope="module")
def found() -> dict[str, list[Case]]:
    return corpus()


def test_corpus_is_as_large_as_promised(found: dict[str, list[Case]]) -> None:
    num_payloads = sum(len(case.shots) for cases in found.values() for case in cases)
    assert num_payloads >= _LEAST_PAYLOADS
    assert min(map(len, found.values())) >= 20


def test_each_case_is_tried_once_and_every_way_with_many(found: dict[str, list[Case]]) -> None:
    trials = plan(found, is_full=False)
    assert [trial.case for trial in trials] == [case for cases in found.values() for case in cases]
    ways = Counter((trial.protocol, trial.qos) for trial in trials)
    assert len(ways) == 6
    assert min(ways.values()) > len(trials) / 12


@pytest.mark.timeout(600)  # half a minute, but not on a machine that is busy with other things
async def test_every_hostile_message_is_answered_and_harms_nobody(
    found: dict[str, list[Case]],
    mosquitto_program: BrokerProgram,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    report = await try_all(tmp_path, found, is_full=False, program=mosquitto_program)
    request.config.stash[REPORT] = report
    assert report.is_clean, report.faults()
