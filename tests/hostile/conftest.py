"""Shows the table of families after every run of the tests, passed or not."""

import pytest

from tests.hostile.report import Report

REPORT = pytest.StashKey[Report]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    report = terminalreporter.config.stash.get(REPORT, None)
    if report is not None:
        terminalreporter.section("hostile corpus")
        terminalreporter.line(report.table())
