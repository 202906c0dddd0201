"""What a run has found, as a table of families and a list of what is wrong."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.hostile.case import Case
from tests.hostile.trial import Finding, Trial

_KINDS = ("completed", "rejected", "failed", "silent", "broker")
_ROW = "{:<12} {:>8} {:>8} " + " {:>9}" * len(_KINDS) + " {:>6} {:>7}"


@dataclass(frozen=True, slots=True)
class Report:
    """A run."""

    corpus: dict[str, list[Case]] = field(repr=False)
    trials: Sequence[Trial] = field(repr=False)
    findings: Sequence[Finding] = field(repr=False)
    problems: Sequence[str]  #: of the run as a whole
    seconds: float

    @property
    def is_clean(self) -> bool:
        has_all = len(self.findings) == len(self.trials)
        return has_all and not self.problems and not any(each.problems for each in self.findings)

    def table(self) -> str:
        """Families with counts, answers and the longest time to one."""
        by_family: defaultdict[str, list[Finding]] = defaultdict(list)
        for finding in self.findings:
            by_family[finding.trial.family].append(finding)
        rows = [_ROW.format("family", "payloads", "tries", *_KINDS, "wrong", "longest")]
        rows += [_row(family, cases, by_family[family]) for family, cases in self.corpus.items()]
        everything = [case for cases in self.corpus.values() for case in cases]
        rows.append(_row("all", everything, self.findings))
        return "\n".join(rows)

    def faults(self) -> str:
        """What is wrong, a line each; empty when nothing is."""
        lines = list(self.problems)
        lines += [
            f"{finding.trial}: {problem}"
            for finding in self.findings
            for problem in finding.problems
        ]
        if missing := len(self.trials) - len(self.findings):
            lines.append(f"{missing} of {len(self.trials)} were not tried")
        return "\n".join(lines)

    def __str__(self) -> str:
        verdict = "CLEAN" if self.is_clean else f"WRONG:\n{self.faults()}"
        return f"{self.table()}\n{verdict} after {self.seconds:.0f} s"


def _row(family: str, cases: Sequence[Case], findings: Sequence[Finding]) -> str:
    kinds: Counter[str] = Counter()
    for finding in findings:
        kinds.update(_kind(outcome) for outcome in finding.outcomes)
    num_wrong = sum(bool(finding.problems) for finding in findings)
    longest = max((finding.seconds for finding in findings), default=0.0)
    return _ROW.format(
        family,
        sum(len(case.shots) for case in cases),
        len(findings),
        *(kinds[kind] for kind in _KINDS),
        num_wrong,
        f"{longest:.1f} s",
    )


def _kind(outcome: str) -> str:
    word = outcome.split()[0]
    return {"unrouted": "rejected", "repeat": "completed"}.get(word, word)
