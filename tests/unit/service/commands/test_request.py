"""What `request` says without a service."""

import pytest

from schemas.requests.table import TABLE
from service.cli import main


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("job/nonsense",), "job/list"),
        ((), "job/list"),
        (("job",), "is a group: job/get"),
        (("job/get", "colour=red"), "camera_id"),
    ],
)
def test_bad_usage_is_one_line_and_exits_2(
    words: tuple[str, ...], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["request", *words]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert named in err


@pytest.mark.parametrize("name", [None, "job", "job/list"])
def test_list_describes_every_operation(
    name: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["request", *([name] if name else []), "--list"]) == 0
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if line and line[0] != " "] == [
        each.name for each in TABLE if name in {None, each.name, each.group}
    ]
    assert "    limit            whole number, 1 – 200; default 50\n" in out
