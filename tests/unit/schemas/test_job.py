"""The life of a job, and what its error may say."""

import pytest

from schemas.job import TRANSITIONS, ErrorDetail, JobStatus, job_key, sources_of, split_key

FINAL = [status for status in JobStatus if status.is_final]


@pytest.mark.parametrize("status", FINAL)
def test_nothing_comes_after_an_end(status: JobStatus) -> None:
    assert not TRANSITIONS[status]


def test_every_status_has_its_transitions() -> None:
    assert TRANSITIONS.keys() == set(JobStatus)


def test_rejected_is_no_end_of_a_job() -> None:
    assert not sources_of(JobStatus.REJECTED)


@pytest.mark.parametrize("status", sorted(set(FINAL) - {JobStatus.REJECTED}))
def test_every_end_can_be_reached_from_the_engine(status: JobStatus) -> None:
    if status is not JobStatus.DROPPED:  # an engine has room for what it holds
        assert JobStatus.PROCESSING in sources_of(status)


def test_only_an_engine_completes() -> None:
    assert sources_of(JobStatus.COMPLETED) == {JobStatus.PROCESSING}


def test_key_names_camera_and_job() -> None:
    assert split_key(job_key("front_door", "a-1")) == ("front_door", "a-1")
    assert split_key("no key") == ("no key", "")


def test_error_message_can_be_encoded_whatever_it_quotes() -> None:
    error = ErrorDetail(code="fetch_failed", message="file \udcff is gone")
    assert error.message == "file ? is gone"
    assert ErrorDetail.model_validate_json(error.model_dump_json()) == error
