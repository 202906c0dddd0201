"""Who runs next: order, bounds, sharing of slots, and what happens when memory is short."""

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moondream2.scheduler import Encoding, Place, Plan, Scheduler, Start


def scheduler(*jobs: str, slots: int = 4, max_crops: int = 10, crops: int = 2) -> Scheduler:
    """Return a scheduler with jobs of one task and rank 0."""
    made = Scheduler(slots, max_crops)
    for key in jobs:
        made.add(key, (0.0,), num_crops=crops, num_tasks=1)
    return made


def started(plan: Plan) -> list[tuple[str, int]]:
    return [(start.key, start.slot) for start in plan.start]


def encoded(plan: Plan) -> list[str]:
    return [place.key for place in plan.encode]


def test_plan_takes_smallest_rank_first_then_first_come() -> None:
    made = scheduler(slots=3)
    for key, rank in (("low", 2.0), ("first", 1.0), ("second", 1.0), ("top", 0.0)):
        made.add(key, (rank,), num_crops=1, num_tasks=1)
    assert encoded(made.plan()) == ["top", "first", "second"]


def test_plan_starts_a_row_for_every_frame_it_encodes() -> None:
    plan = scheduler("a", "b").plan()
    assert plan.encode == [Place("a", 0, 0), Place("b", 0, 1)]
    assert plan.start == [Start("a", 0, 0, None), Start("b", 0, 1, None)]


def test_vision_pass_is_bounded() -> None:
    made = scheduler("a", "b", "c", crops=4)
    assert encoded(made.plan()) == ["a", "b"]
    assert encoded(made.plan()) == ["c"]


def test_frame_larger_than_a_pass_gets_its_own() -> None:
    made = scheduler("a", "b", max_crops=3, crops=5)
    assert encoded(made.plan()) == ["a"]
    assert encoded(made.plan()) == ["b"]


def test_small_frame_never_overtakes_a_large_one() -> None:
    made = scheduler("a", crops=6)
    made.add("large", (0.0,), num_crops=6, num_tasks=1)
    made.add("small", (1.0,), num_crops=1, num_tasks=1)
    assert encoded(made.plan()) == ["a"]
    assert encoded(made.plan()) == ["large", "small"]


def test_question_without_frame_is_not_encoded() -> None:
    made = scheduler()
    made.add("q", (0.0,), num_crops=0, num_tasks=2)
    plan = made.plan()
    assert plan.encode == []
    assert plan.start == [Start("q", 0, 0, None), Start("q", 1, 1, None)]


def test_tasks_run_side_by_side_on_spare_slots() -> None:
    made = scheduler()
    made.add("a", (0.0,), num_crops=1, num_tasks=3)
    assert made.plan().start == [
        Start("a", 0, 0, None),
        Start("a", 1, 1, 0),
        Start("a", 2, 2, 0),
    ]
    assert made.free == 1


def test_spare_slots_are_left_to_waiting_jobs() -> None:
    made = scheduler(slots=3, max_crops=1)
    made.add("a", (0.0,), num_crops=1, num_tasks=3)
    made.add("b", (1.0,), num_crops=1, num_tasks=1)
    assert started(made.plan()) == [("a", 0), ("a", 1)]
    assert started(made.plan()) == [("b", 2)]


def test_next_task_follows_in_the_same_slot() -> None:
    made = scheduler(slots=1)
    made.add("a", (0.0,), num_crops=1, num_tasks=2)
    made.plan()
    assert not made.finish("a", 0)
    plan = made.plan()
    assert (plan.encode, plan.start) == ([], [Start("a", 1, 0, None)])
    assert made.finish("a", 0)
    assert "a" not in made
    assert made.free == 1


def test_copy_comes_from_a_slot_that_still_holds_the_prefix() -> None:
    """The slot of the encoding may have gone to another job by then."""
    made = scheduler(slots=3)
    made.add("a", (0.0,), num_crops=1, num_tasks=3)
    made.add("b", (1.0,), num_crops=1, num_tasks=1)
    assert started(made.plan()) == [("a", 0), ("b", 1), ("a", 2)]
    made.finish("b", 1)
    assert made.plan().start == [Start("a", 2, 1, 0)]


def test_urgent_class_takes_slot_of_least_urgent() -> None:
    made = scheduler(slots=2)
    made.add("normal", (1.0,), num_crops=1, num_tasks=1)
    made.add("low", (2.0,), num_crops=1, num_tasks=1)
    made.plan()
    made.add("critical", (0.0,), num_crops=1, num_tasks=1)
    plan = made.plan()
    assert plan.stop == [Place("low", 0, 1)]
    assert started(plan) == [("critical", 1)]
    made.finish("critical", 1)
    assert encoded(made.plan()) == ["low"]


def test_urgent_class_takes_copies_before_the_prefix() -> None:
    made = scheduler(slots=2)
    made.add("low", (2.0,), num_crops=1, num_tasks=2)
    made.plan()
    made.add("critical", (0.0,), num_crops=1, num_tasks=1)
    assert made.plan().stop == [Place("low", 1, 1)]
    made.finish("critical", 1)
    plan = made.plan()
    assert (plan.encode, plan.start) == ([], [Start("low", 1, 1, 0)])


def test_inside_a_class_nothing_is_interrupted() -> None:
    made = scheduler(slots=1)
    made.add("later", (1.0, 9.0), num_crops=1, num_tasks=1)
    made.plan()
    made.add("earlier", (1.0, 3.0), num_crops=1, num_tasks=1)
    assert made.plan() == Plan()


def test_removed_job_frees_its_slots() -> None:
    made = scheduler(slots=2)
    made.add("a", (0.0,), num_crops=1, num_tasks=2)
    made.plan()
    made.remove("a")
    assert made.free == 2
    assert len(made) == 0


def test_two_jobs_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="'a' is already held"):
        scheduler("a", "a")


def test_free_counts_waiting_jobs() -> None:
    made = scheduler("a", slots=3)
    assert made.free == 2
    made.plan()
    assert made.free == 2


def test_narrow_halves_and_widen_restores() -> None:
    made = scheduler(slots=5, max_crops=10)
    made.narrow()
    assert (made.limit, made.max_crops, made.is_narrowed) == (2, 5, True)
    for _ in range(3):
        made.narrow()
    assert (made.limit, made.max_crops) == (1, 1)
    for _ in range(4):
        made.widen()
    assert (made.limit, made.max_crops, made.is_narrowed) == (5, 10, False)


def test_restart_keeps_ended_tasks_and_repeats_the_others() -> None:
    made = scheduler(slots=2)
    made.add("a", (0.0,), num_crops=1, num_tasks=3)
    made.plan()
    made.finish("a", 0)
    made.plan()
    made.restart()
    made.narrow()
    plan = made.plan()
    assert encoded(plan) == ["a"]
    assert {start.task for start in plan.start} < {1, 2}
    assert made.free == 0


jobs = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 5), st.integers(1, 4)), min_size=1, max_size=12
)


@settings(max_examples=200)
@given(jobs, st.integers(1, 6), st.integers(1, 8), st.randoms(use_true_random=False))
def test_every_task_ends_once_and_slots_are_never_shared(
    found: list[tuple[int, int, int]], slots: int, max_crops: int, draw: Random
) -> None:
    """Jobs arrive, end, restart and narrow at random; the rules hold at every step."""
    made = Scheduler(slots, max_crops)
    waiting = [(f"job{i}", *job) for i, job in enumerate(found)]
    running: dict[int, tuple[str, int]] = {}
    prefixes: dict[int, str] = {}
    ended: list[tuple[str, int]] = []
    for _ in range(2000):
        if waiting and draw.random() < 0.5:
            key, rank, crops, tasks = waiting.pop()
            made.add(key, (float(rank),), num_crops=crops, num_tasks=tasks)
        if draw.random() < 0.02:
            made.restart()
            running.clear()
            prefixes.clear()
            draw.choice((made.narrow, made.widen))()
        plan = made.plan()
        for place in plan.stop:
            assert running.pop(place.slot) == (place.key, place.task)
        for place in plan.encode:
            prefixes[place.slot] = place.key
        for start in plan.start:
            assert start.slot not in running
            running[start.slot] = (start.key, start.task)
            if start.source is not None:
                assert prefixes[start.source] == start.key
                prefixes[start.slot] = start.key
            if found[int(start.key[3:])][1]:
                assert prefixes[start.slot] == start.key
        assert len(running) <= made.limit
        sizes = [found[int(place.key[3:])][1] for place in plan.encode]
        assert len(sizes) < 2 or sum(sizes) <= made.max_crops
        for slot in [slot for slot in running if draw.random() < 0.4]:
            key, task = running.pop(slot)
            ended.append((key, task))
            made.finish(key, slot)
        if not waiting and not len(made):
            break
    expected = [(f"job{i}", task) for i, job in enumerate(found) for task in range(job[2])]
    assert sorted(ended) == sorted(expected)
    assert made.free == made.limit


def in_parts(**jobs: float) -> Scheduler:
    """Return a scheduler that encodes in parts, with jobs of two crops by their class."""
    made = Scheduler(3, 10, encoding=Encoding.PARTS)
    for key, rank in jobs.items():
        made.add(key, (rank,), num_crops=2, num_tasks=1)
    return made


def advanced(plan: Plan) -> str | None:
    return None if plan.advance is None else plan.advance.key


def test_in_parts_one_frame_is_encoded_after_the_other() -> None:
    made = in_parts(a=1.0, b=1.0)
    assert [advanced(made.plan()) for _ in range(3)] == ["a", "a", "a"]
    made.encoded("a")
    plan = made.plan()
    assert (started(plan), advanced(plan)) == ([("a", 0)], "b")


def test_in_parts_the_more_urgent_frame_goes_between() -> None:
    made = in_parts(low=2.0)
    made.plan()
    made.add("critical", (0.0,), num_crops=2, num_tasks=1)
    assert advanced(made.plan()) == "critical"
    made.encoded("critical")
    plan = made.plan()
    assert (started(plan), advanced(plan)) == ([("critical", 1)], None)
    assert advanced(made.plan()) is None  # while it is answered
    made.finish("critical", 1)
    assert advanced(made.plan()) == "low"


def test_in_parts_question_waits_for_no_frame_that_is_being_encoded() -> None:
    made = in_parts(a=1.0)
    made.plan()
    made.add("q", (1.0,), num_crops=0, num_tasks=1)
    assert started(made.plan()) == [("q", 1)]


def test_in_parts_slot_is_taken_from_the_frame_that_is_being_encoded() -> None:
    """It keeps what was done of it; one that is answered would have to be encoded again."""
    made = in_parts(done=2.0, begun=2.0)
    made.limit = 2
    made.plan()
    made.encoded("done")
    made.plan()
    made.add("critical", (0.0,), num_crops=2, num_tasks=1)
    assert made.plan().stop == [Place("begun", 0, 1)]


def test_in_parts_what_was_begun_goes_on_before_others_of_its_class() -> None:
    made = in_parts(begun=2.0)
    made.limit = 1
    made.plan()
    made.add("critical", (0.0,), num_crops=2, num_tasks=1)
    made.add("earlier", (2.0, -1.0), num_crops=2, num_tasks=1)
    made.plan()
    made.encoded("critical")
    made.plan()
    made.finish("critical", 0)
    assert advanced(made.plan()) == "begun"


@settings(max_examples=100, suppress_health_check=[HealthCheck.data_too_large])
@given(jobs, st.integers(1, 6), st.randoms(use_true_random=False))
def test_in_parts_every_task_ends_once_and_few_frames_are_half_encoded(
    found: list[tuple[int, int, int]], slots: int, draw: Random
) -> None:
    """Jobs arrive, end, are cancelled and restart at random."""
    made = Scheduler(slots, 8, encoding=Encoding.PARTS)
    waiting = [(f"job{i}", *job) for i, job in enumerate(found)]
    running: dict[int, tuple[str, int]] = {}
    prefixes: dict[int, str] = {}
    half: set[str] = set()
    ended: set[tuple[str, int]] = set()
    for _ in range(4000):
        if waiting and draw.random() < 0.5:
            key, rank, crops, tasks = waiting.pop()
            made.add(key, (float(rank),), num_crops=crops, num_tasks=tasks)
        if draw.random() < 0.02:
            made.restart()
            for state in (running, prefixes, half):
                state.clear()
        plan = made.plan()
        for place in plan.stop:
            running.pop(place.slot, None)
        assert plan.encode == []
        for start in plan.start:
            assert start.slot not in running
            running[start.slot] = (start.key, start.task)
            if start.source is not None:
                prefixes[start.slot] = prefixes[start.source]
            if found[int(start.key[3:])][1]:
                assert prefixes[start.slot] == start.key
        if further := plan.advance:
            assert further.slot not in running
            prefixes[further.slot] = further.key
            half.add(further.key)
            classes = [found[int(key[3:])][0] for key in half]
            assert len(classes) == len(set(classes))
            mine = found[int(further.key[3:])][0]
            assert all(found[int(key[3:])][0] >= mine for key, _ in running.values())
            if draw.random() < 0.3:
                half.discard(further.key)
                made.encoded(further.key)
        for slot in [slot for slot in running if draw.random() < 0.4]:
            key, task = running.pop(slot)
            assert (key, task) not in ended
            ended.add((key, task))
            made.finish(key, slot)
        if not waiting and not len(made):
            break
    assert ended == {(f"job{i}", task) for i, job in enumerate(found) for task in range(job[2])}
    assert made.free == made.limit


def beside(**jobs: int) -> Scheduler:
    """Return a scheduler that encodes beside rows, with jobs of one class by their crops."""
    made = Scheduler(8, 4, encoding=Encoding.BESIDE)
    for key, crops in jobs.items():
        made.add(key, (1.0,), num_crops=crops, num_tasks=1)
    return made


def test_beside_rows_two_passes_are_under_way() -> None:
    made = beside(a=2, b=2, c=2, d=2, e=2)
    assert [encoded(made.plan()) for _ in range(3)] == [["a", "b"], ["c", "d"], []]
    for key in "ab":
        made.encoded(key)
    plan = made.plan()
    assert (started(plan), encoded(plan)) == ([("a", 0), ("b", 1)], ["e"])


def test_beside_rows_a_frame_larger_than_a_pass_goes_alone() -> None:
    made = beside(large=9, small=1)
    assert [encoded(made.plan()) for _ in range(2)] == [["large"], []]
    made.encoded("large")
    assert encoded(made.plan()) == ["small"]


def test_beside_rows_more_urgent_frames_wait_for_no_others() -> None:
    made = beside(a=4, b=4)
    made.plan()
    made.plan()
    made.add("critical", (0.0,), num_crops=4, num_tasks=1)
    assert encoded(made.plan()) == ["critical"]


def test_beside_rows_frame_that_lost_its_slot_is_encoded_on() -> None:
    made = beside(low=2)
    made.limit = 1
    made.plan()
    made.add("critical", (0.0,), num_crops=0, num_tasks=1)
    plan = made.plan()
    assert (plan.stop, started(plan)) == ([Place("low", 0, 0)], [("critical", 0)])
    assert made.encoding() == []
    made.finish("critical", 0)
    assert encoded(made.plan()) == []
    assert made.encoding() == [Place("low", 0, 0)]


@settings(max_examples=100)
@given(jobs, st.integers(1, 6), st.randoms(use_true_random=False))
def test_beside_rows_every_task_ends_once_and_no_frame_is_encoded_twice(
    found: list[tuple[int, int, int]], slots: int, draw: Random
) -> None:
    made = Scheduler(slots, 6, encoding=Encoding.BESIDE)
    waiting = [(f"job{i}", *job) for i, job in enumerate(found)]
    running: dict[int, tuple[str, int]] = {}
    prefixes: dict[int, str] = {}
    begun: set[str] = set()
    ended: list[tuple[str, int]] = []
    for _ in range(4000):
        if waiting and draw.random() < 0.5:
            key, rank, crops, tasks = waiting.pop()
            made.add(key, (float(rank),), num_crops=crops, num_tasks=tasks)
        if draw.random() < 0.02:
            made.restart()
            for state in (running, prefixes, begun):
                state.clear()
        for held in made.encoding():
            assert held.slot not in running
            if draw.random() < 0.3:
                prefixes[held.slot] = held.key
                begun.discard(held.key)
                made.encoded(held.key)
        plan = made.plan()
        for place in plan.stop:
            running.pop(place.slot, None)
        keys = encoded(plan)
        assert not begun.intersection(keys)
        begun.update(keys)
        sizes = [found[int(key[3:])][1] for key in keys]
        assert len(sizes) < 2 or sum(sizes) <= made.max_crops
        for start in plan.start:
            assert start.slot not in running
            running[start.slot] = (start.key, start.task)
            if start.source is not None:
                prefixes[start.slot] = prefixes[start.source]
            if found[int(start.key[3:])][1]:
                assert prefixes[start.slot] == start.key
        for slot in [slot for slot in running if draw.random() < 0.4]:
            key, task = running.pop(slot)
            ended.append((key, task))
            made.finish(key, slot)
        if not waiting and not len(made):
            break
    assert sorted(ended) == sorted(
        (f"job{i}", task) for i, job in enumerate(found) for task in range(job[2])
    )
    assert made.free == made.limit
