"""The goals of the engine on a large GPU, and whether the figures reach them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench.gpu.report import Outcome, Value, Verdict

Figures = Mapping[str, Outcome]


@dataclass(frozen=True)
class Goal:
    """What is wanted of the figures."""

    text: str
    #: Raises KeyError where a figure was not measured.
    measure: Callable[[Figures], float]
    is_met: Callable[[float], bool]


def judge(outcomes: Figures, slots: int, tokens: int) -> list[Verdict]:
    """Hold what was measured against the goals."""
    return [_verdict(goal, outcomes) for goal in _goals(slots, tokens)]


def _verdict(goal: Goal, outcomes: Figures) -> Verdict:
    try:
        measured = goal.measure(outcomes)
    except KeyError:
        return Verdict(goal.text, None, "not measured")
    return Verdict(goal.text, measured, "met" if goal.is_met(measured) else "missed")


def _goals(slots: int, tokens: int) -> list[Goal]:
    full = f"batch {slots}, {tokens} tokens"
    steady = f"steady, {tokens} tokens"

    def of(block: str, name: str) -> Callable[[Figures], float]:
        return lambda outcomes: _number(outcomes[block].figures[name])

    def built(outcomes: Figures) -> float:
        figures = outcomes["throughput"].figures
        meanwhile = _number(outcomes["critical"].figures["recordings meanwhile"])
        names = ("recordings", "plans")
        return meanwhile + sum(
            _number(figures[f"{each} while frames were answered"]) for each in names
        )

    def gain(outcomes: Figures) -> float:
        eager = _number(outcomes["eager"].figures["images/s"])
        return _number(outcomes["throughput"].figures[f"{full}: images/s"]) / eager

    def recorded(outcomes: Figures) -> float:
        figures = outcomes["throughput"].figures
        names = ("recordings before the first frame", "numbers of rows that are recorded")
        recordings, sizes = (_number(figures[name]) for name in names)
        return recordings / sizes

    images = of("throughput", f"{full}: images/s")
    return [
        Goal(f"at least 60 images/s: {full}", images, lambda x: x >= 60),
        Goal(
            f"at least 60 images/s: {steady}",
            of("throughput", f"{steady}: images/s"),
            lambda x: x >= 60,
        ),
        Goal(
            f"at least 60 % of the floor: {full}",
            of("throughput", f"{full}: share of the floor"),
            lambda x: x >= 0.6,
        ),
        Goal("at least 10 times one by one without graphs", gain, lambda x: x >= 10),
        Goal(
            "a critical frame begins within 15 ms, p99",
            of("critical", "encoding begins, ms, p99"),
            lambda x: x <= 15,
        ),
        Goal("one recording for each number of rows", recorded, lambda x: x == 1),
        Goal("no recording and no plan while frames are answered", built, lambda x: x == 0),
        Goal(
            "the worker with JPEGs reaches 95 % of the bare engine",
            of("worker", "worker, share of the bare engine"),
            lambda x: x >= 0.95,
        ),
        Goal(
            "all recorded answers equal in float32",
            of("parity", "recorded answers equal in float32"),
            lambda x: x == 1,
        ),
        Goal(
            "bfloat16 agreement of the trained model is given",
            of("parity", "trained model: bfloat16 captions as in float32"),
            lambda x: 0 <= x <= 1,
        ),
    ]


def _number(value: Value) -> float:
    if not isinstance(value, int | float):
        raise KeyError(value)
    return float(value)
