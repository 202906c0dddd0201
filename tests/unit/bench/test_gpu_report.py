"""The report of a GPU, as far as it goes without one: it must not rot until there is one."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bench.gpu.goals import judge
from bench.gpu.report import Block, Note, Outcome, Report, SkippedError
from bench.gpu_report import BLOCKS

_ROOT = Path(__file__).parents[3]
_SLOTS, _TOKENS = 64, 30


@pytest.mark.timeout(300)
def test_quick_report_has_every_block_and_none_fails(tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    command = [sys.executable, "-m", "bench.gpu_report", "--quick", "--device", "cpu"]
    ended = subprocess.run([*command, "--out", out], cwd=_ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    report = json.loads(out.read_text())
    blocks = report["blocks"]
    assert list(blocks) == [block.name for block in BLOCKS]
    assert {
        name: block["reason"] for name, block in blocks.items() if block["status"] != "done"
    } == {"compile": "needs CUDA", "formats": "needs CUDA"}
    assert all(block["figures"] for block in blocks.values() if block["status"] == "done")
    assert report["is_quick"]
    verdicts = {each["goal"]: each for each in report["goals"]}
    assert len(verdicts) == 10
    assert "not measured" not in {each["verdict"] for each in verdicts.values()}
    equal = verdicts["all recorded answers equal in float32"]
    assert (equal["measured"], equal["verdict"]) == (1.0, "met")
    recorded = verdicts["one recording for each number of rows"]
    assert (recorded["measured"], recorded["verdict"]) == (1.0, "met")
    assert "== Goals" in ended.stdout


def _figures(**changes: Any) -> dict[str, Outcome]:
    """Figures with which every goal is met, and changes to them by block."""
    figures: dict[str, dict[str, Any]] = {
        "throughput": {
            "batch 64, 30 tokens: images/s": 65.0,
            "steady, 30 tokens: images/s": 66.0,
            "batch 64, 30 tokens: share of the floor": 0.7,
            "recordings before the first frame": 7,
            "numbers of rows that are recorded": 7,
            "recordings while frames were answered": 0,
            "plans while frames were answered": 0,
        },
        "eager": {"images/s": 6.0},
        "critical": {"encoding begins, ms, p99": 12.0, "recordings meanwhile": 0},
        "worker": {"worker, share of the bare engine": 0.97},
        "parity": {
            "recorded answers equal in float32": 1.0,
            "trained model: bfloat16 captions as in float32": 0.9,
        },
    }
    for block, values in changes.items():
        figures[block] |= values
    return {name: Outcome(figures=values) for name, values in figures.items()}


def test_goals_are_met_by_figures_that_reach_them() -> None:
    assert {each.verdict for each in judge(_figures(), _SLOTS, _TOKENS)} == {"met"}


@pytest.mark.parametrize(
    ("block", "figures", "num_missed"),
    [
        ("throughput", {"batch 64, 30 tokens: images/s": 59.0}, 2),  # 10 × eager too
        ("throughput", {"steady, 30 tokens: images/s": 59.0}, 1),
        ("throughput", {"batch 64, 30 tokens: share of the floor": 0.59}, 1),
        ("throughput", {"recordings before the first frame": 56}, 1),
        ("throughput", {"plans while frames were answered": 1}, 1),
        ("critical", {"recordings meanwhile": 1}, 1),
        ("eager", {"images/s": 6.6}, 1),
        ("critical", {"encoding begins, ms, p99": 15.1}, 1),
        ("worker", {"worker, share of the bare engine": 0.94}, 1),
        ("parity", {"recorded answers equal in float32": 0.99}, 1),
    ],
)
def test_goal_is_missed_by_a_figure_that_does_not_reach_it(
    block: str, figures: dict[str, float], num_missed: int
) -> None:
    verdicts = judge(_figures(**{block: figures}), _SLOTS, _TOKENS)
    assert [each.verdict for each in verdicts].count("missed") == num_missed


def test_goal_without_its_figure_is_not_measured() -> None:
    outcomes = _figures()
    del outcomes["worker"]
    outcomes["parity"].figures.clear()
    verdicts = [each.verdict for each in judge(outcomes, _SLOTS, _TOKENS)]
    assert verdicts.count("not measured") == 3
    assert verdicts.count("met") == 7


def _fails(_setting: object, note: Note) -> None:
    note("before", 1)
    raise ZeroDivisionError("of a driver")


def _takes_long(_setting: object, note: Note) -> None:
    note("before", 2)
    end = time.monotonic() + 20
    while time.monotonic() < end:
        time.sleep(0.01)


def _skips(_setting: object, _note: Note) -> None:
    raise SkippedError("needs CUDA")


def _works(_setting: object, note: Note) -> None:
    note("images/s", 3.5, is_shown=True)


def test_block_that_fails_or_takes_too_long_is_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report.json"
    report = Report({"device": "none"}, out, limit_s=60)
    for name, run in (("fails", _fails), ("long", _takes_long), ("skips", _skips)):
        report.run(Block(name, run, 1.5), None)
    report.run(Block("works", _works, 60), None)
    blocks = json.loads(out.read_text())["blocks"]
    assert [block["status"] for block in blocks.values()] == ["failed", "failed", "skipped", "done"]
    assert blocks["fails"]["reason"] == "ZeroDivisionError: of a driver"
    assert blocks["fails"]["figures"] == {"before": 1}
    assert blocks["long"]["reason"] == "OvertimeError: more than 2 s"
    report.show([])
    assert "images/s" in capsys.readouterr().out.split("== Table")[1]


def test_blocks_for_which_no_time_is_left_are_skipped() -> None:
    report = Report({}, None, limit_s=0)
    report.run(Block("works", _works, 60), None)
    assert report.outcomes["works"].status == "skipped"
    assert report.outcomes["works"].reason == "no time was left"


@pytest.mark.parametrize("module", ["bench.gpu_report", "bench.gpu.worker"])
def test_report_loads_nothing_that_a_machine_with_torch_may_lack(module: str) -> None:
    script = f"import sys, {module}; print(*sys.modules)"
    command = [sys.executable, "-c", script]
    output = subprocess.run(command, cwd=_ROOT, capture_output=True, check=True, text=True).stdout
    ours = {
        "paho",
        "aiomqtt",
        "pydantic",
        "sqlalchemy",
        "alembic",
        "httpx",
        "typer",
        "pytest",
    }
    assert not ours & set(output.split())
