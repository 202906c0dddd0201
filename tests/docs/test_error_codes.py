"""The table of error codes is what the code can do: each code, with each end that carries it."""

from collections import defaultdict

from schemas.codes import STATUSES, TABLE
from schemas.job import JobStatus
from schemas.requests.codes import CODES
from tests.docs.error_codes import codes, codes_of_answers
from tests.docs.reference import ROOT


def test_codes_and_their_ends_are_those_of_the_code() -> None:
    made: defaultdict[str, set[JobStatus]] = defaultdict(set)
    places: defaultdict[str, list[str]] = defaultdict(list)
    for code, ends, where in codes(ROOT):
        made[code] |= ends
        places[code].append(where)
    assert made.keys() == STATUSES.keys(), {code: places[code] for code in made.keys() - STATUSES}
    wrong = {
        code: (sorted(ends), sorted(STATUSES[code]), places[code])
        for code, ends in made.items()
        if ends != STATUSES[code]
    }
    assert not wrong, "made, in the table, where"


def test_table_has_each_code_once_and_only_with_ends() -> None:
    assert len(STATUSES) == len(TABLE)
    ends = frozenset[JobStatus]().union(*STATUSES.values())
    assert all(status.is_final for status in ends)
    assert JobStatus.COMPLETED not in ends


def test_codes_of_answers_are_in_their_table() -> None:
    made = dict(codes_of_answers(ROOT))
    assert made.keys() >= {"unknown_operation", "not_found", "busy"}
    assert {code: where for code, where in made.items() if code not in CODES} == {}
