"""The words of a request: what they mean follows from the schema."""

from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import Field

from schemas.requests.bridge import INFO, QUEUE_PROCESSING
from schemas.requests.envelope import Answer, Request
from schemas.requests.jobs import JOB_GET, JOB_LIST
from schemas.requests.operation import Operation
from schemas.requests.table import TABLE
from service.commands.words import read_words, spelled


class Everything(Request):
    """One field of each kind."""

    text: str | None = None
    name: str = ""
    count: int = 1
    share: float = Field(default=0.5, strict=True)
    is_on: bool = False
    labels: tuple[str, ...] = ()
    metadata: dict[str, Any] = Field(default_factory=dict)


ANY = Operation("any", Everything, Answer, "For these tests.")


@pytest.mark.parametrize(
    ("words", "content"),
    [
        ([], {}),
        (["text=5"], {"text": "5"}),
        (["text=null"], {"text": None}),
        (["name=null"], {"name": "null"}),  # which cannot be null
        (["text=a=b c"], {"text": "a=b c"}),
        (["text="], {"text": ""}),
        (["count=5", "share=0.25"], {"count": 5, "share": 0.25}),
        (["is_on=true"], {"is_on": True}),
        (["is_on=ON"], {"is_on": "ON"}),  # for the service to read
        (
            ['labels=["a", "b"]', 'metadata={"a": [1]}'],
            {"labels": ["a", "b"], "metadata": {"a": [1]}},
        ),
        (["count=many"], {"count": "many"}),  # for the service to refuse
        (['{"count": 5, "colour": "red"}'], {"count": 5, "colour": "red"}),
    ],
)
def test_value_means_what_its_field_takes(words: list[str], content: dict[str, Any]) -> None:
    assert read_words(ANY, words) == content


def test_bare_value_is_that_of_the_only_required_field() -> None:
    assert read_words(JOB_GET, ["5f0c"]) == {"job_id": "5f0c"}
    assert read_words(JOB_GET, ["job_id=5f0c"]) == {"job_id": "5f0c"}
    assert read_words(QUEUE_PROCESSING, ["OFF"]) == {"enabled": "OFF"}
    assert read_words(QUEUE_PROCESSING, ["false"]) == {"enabled": False}


def test_file_stands_for_its_content(tmp_path: Path) -> None:
    (tmp_path / "request.json").write_text('{"limit": 3}')
    (tmp_path / "text").write_text("front")
    (tmp_path / "picture").write_bytes(b"\xff\xd8\xff")
    assert read_words(JOB_LIST, [f"@{tmp_path}/request.json"]) == {"limit": 3}
    assert read_words(ANY, [f"text=@{tmp_path}/text"]) == {"text": "front"}
    assert read_words(ANY, [f"text=@{tmp_path}/picture"]) == {"text": "/9j/"}


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["failed"], "failed"),
        (["colour=red"], "status"),
        (["limit=1", "limit=2"], "twice"),
        (["{"], "no JSON"),
        (["@/no/such/file"], "/no/such/file"),
        (["status=@/"], "/"),
        (["\udcff=1"], "no field"),
    ],
)
def test_words_that_say_nothing_are_bad_usage(words: list[str], named: str) -> None:
    with pytest.raises(typer.BadParameter, match=named):
        read_words(JOB_LIST, words)


def test_operation_without_fields_takes_none() -> None:
    with pytest.raises(typer.BadParameter, match="has no field 'a'"):
        read_words(INFO, ["a=1"])


@pytest.mark.parametrize("operation", TABLE, ids=lambda each: each.name)
def test_example_can_be_said_in_words(operation: Operation[Any, Any]) -> None:
    assert read_words(operation, spelled(operation.example, operation)) == operation.example


def test_file_that_may_never_end_is_refused() -> None:
    with pytest.raises(typer.BadParameter, match="/dev/zero is no file"):
        read_words(ANY, ["text=@/dev/zero"])
