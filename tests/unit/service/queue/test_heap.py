"""The heap against its rules, and against a plain list that follows them slowly."""

import random
from dataclasses import replace
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.frame import Priority
from service.queue.heap import JobHeap, Order, Ticket

_NUMBERS = count()


def ticket(
    priority: Priority = Priority.NORMAL,
    camera: str = "front",
    queued_at: float = 0.0,
    num_bytes: int = 0,
) -> Ticket:
    return Ticket(
        f"job-{next(_NUMBERS)}", camera, priority, queued_at=queued_at, num_bytes=num_bytes
    )


def drain(heap: JobHeap, now: float = 0.0) -> list[str]:
    ids = []
    while (popped := heap.pop(now)) is not None:
        ids.append(popped.job_key)
    return ids


def order_key(each: Ticket, order: Order) -> float:
    if order == "smallest":
        return each.num_bytes
    return each.queued_at if order == "oldest" else -each.queued_at


def test_pop_takes_the_most_important_class_first() -> None:
    heap = JobHeap(capacity=10)
    tickets = [ticket(priority) for priority in Priority]
    for each in tickets:
        heap.push(each)
    assert drain(heap) == [each.job_key for each in reversed(tickets)]


@pytest.mark.parametrize(
    ("order", "expected"), [("oldest", [0, 1, 2]), ("newest", [2, 1, 0]), ("smallest", [1, 2, 0])]
)
def test_pop_inside_a_camera_follows_the_order(order: Order, expected: list[int]) -> None:
    heap = JobHeap(capacity=10, order=order)
    tickets = [ticket(queued_at=i, num_bytes=size) for i, size in enumerate([30, 10, 20])]
    for each in tickets:
        heap.push(each)
    assert drain(heap) == [tickets[i].job_key for i in expected]


def test_pop_lets_a_quiet_camera_in_before_a_chatty_one_is_done() -> None:
    heap = JobHeap(capacity=100)
    chatty = [ticket(camera="street", queued_at=i) for i in range(50)]
    for each in chatty:
        heap.push(each)
    assert [heap.pop(0.0) for _ in range(10)] == chatty[:10]
    quiet = ticket(camera="garden", queued_at=60)
    heap.push(quiet)
    assert quiet.job_key in {popped.job_key for _ in range(2) if (popped := heap.pop(60.0))}


def test_pop_gives_no_credit_for_silence() -> None:
    heap = JobHeap(capacity=100)
    for i in range(20):
        heap.push(ticket(camera="street", queued_at=i))
        heap.pop(0.0)
    for i in range(10):
        heap.push(ticket(camera="street", queued_at=100 + i))
        heap.push(ticket(camera="garden", queued_at=100 + i))
    first = [popped.camera_id for _ in range(10) if (popped := heap.pop(0.0))]
    assert 4 <= first.count("garden") <= 6


def test_pop_after_patience_ranks_a_low_ticket_with_normal_ones() -> None:
    heap = JobHeap(capacity=10, patience=60)
    low = ticket(Priority.LOW, queued_at=0)
    normal = ticket(Priority.NORMAL, queued_at=50)
    heap.push(low)
    heap.push(normal)
    assert heap.most_urgent(59) is Priority.NORMAL
    assert heap.num_in(Priority.LOW) == 1
    assert heap.pop(60) == low


def test_patience_never_outranks_critical() -> None:
    heap = JobHeap(capacity=10, patience=1)
    heap.push(ticket(Priority.LOW, queued_at=0))
    critical = ticket(Priority.CRITICAL, queued_at=1000)
    heap.push(critical)
    assert heap.pop(1000) == critical


def test_push_on_full_heap_evicts_the_least_important() -> None:
    heap = JobHeap(capacity=1)
    low, high = ticket(Priority.LOW), ticket(Priority.HIGH)
    assert heap.push(high) is None
    assert heap.push(low) is low
    assert len(heap) == 1


def test_push_on_full_heap_evicts_the_stalest_of_equal_rank() -> None:
    heap = JobHeap(capacity=2)
    old, newer, newest = (ticket(queued_at=i) for i in range(3))
    heap.push(old)
    heap.push(newer)
    assert heap.push(newest) is old


def test_push_on_full_heap_makes_the_chatty_camera_pay() -> None:
    heap = JobHeap(capacity=3)
    quiet = ticket(camera="garden", queued_at=0)
    heap.push(quiet)
    chatty = [ticket(camera="street", queued_at=i + 1) for i in range(3)]
    heap.push(chatty[0])
    heap.push(chatty[1])
    assert heap.push(chatty[2]) is chatty[0]


def test_push_on_full_heap_judges_by_the_given_class_not_the_lifted_one() -> None:
    heap = JobHeap(capacity=2, patience=1)
    low = ticket(Priority.LOW, queued_at=0)
    heap.push(low)
    heap.push(ticket(Priority.NORMAL, queued_at=0))
    assert heap.most_urgent(10) is Priority.HIGH
    assert heap.push(ticket(Priority.NORMAL, queued_at=10)) is low


def test_push_twice_is_refused() -> None:
    heap = JobHeap(capacity=2)
    each = ticket()
    heap.push(each)
    with pytest.raises(ValueError, match="waiting already"):
        heap.push(each)


def test_remove_takes_a_ticket_out_of_turn() -> None:
    heap = JobHeap(capacity=10)
    tickets = [ticket(queued_at=i) for i in range(3)]
    for each in tickets:
        heap.push(each)
    assert heap.remove(tickets[0].job_key) is tickets[0]
    assert heap.remove(tickets[0].job_key) is None
    assert drain(heap) == [tickets[1].job_key, tickets[2].job_key]


def test_position_counts_the_classes_before_it() -> None:
    heap = JobHeap(capacity=10)
    low = ticket(Priority.LOW)
    heap.push(low)
    heap.push(ticket(Priority.HIGH))
    heap.push(ticket(Priority.CRITICAL))
    assert heap.position(low.job_key) == 3


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["push", "push", "push", "pop", "remove"]),
            st.sampled_from(list(Priority)),
            st.sampled_from(["a", "b", "c"]),
            st.integers(0, 10**6),
        ),
        max_size=200,
    ),
    st.integers(1, 30),
    st.sampled_from(["oldest", "newest", "smallest"]),
)
def test_any_history_loses_nothing_and_keeps_the_classes(
    history: list[tuple[str, Priority, str, int]], capacity: int, order: Order
) -> None:
    heap = JobHeap(capacity=capacity, order=order)
    waiting: dict[str, Ticket] = {}
    for now, (action, priority, camera, number) in enumerate(history):
        if action == "push":
            new = ticket(priority, camera, queued_at=now, num_bytes=number)
            waiting[new.job_key] = new
            evicted = heap.push(new)
            if evicted is not None:
                assert evicted.priority == min(each.priority for each in waiting.values())
                del waiting[evicted.job_key]
        elif action == "pop":
            popped = heap.pop(now)
            assert (popped is None) == (not waiting)
            if popped is not None:
                best = max(each.priority for each in waiting.values())
                assert popped.priority == best
                same = [
                    each
                    for each in waiting.values()
                    if (each.priority, each.camera_id) == (best, popped.camera_id)
                ]
                assert order_key(popped, order) == min(order_key(each, order) for each in same)
                del waiting[popped.job_key]
        elif waiting:
            chosen = list(waiting.values())[number % len(waiting)]
            assert heap.remove(chosen.job_key) is chosen
            del waiting[chosen.job_key]
        assert len(heap) == len(waiting)
        assert sum(heap.num_in(rank) for rank in Priority) == len(waiting)
        of_cameras = [each for name in "abc" for each in heap.of_camera(name)]
        assert sorted(each.job_key for each in of_cameras) == sorted(waiting)
    assert sorted(drain(heap, len(history))) == sorted(waiting)


def test_many_removals_leave_no_dead_entries_behind() -> None:
    heap = JobHeap(capacity=100_000, patience=5)
    rng = random.Random(7)
    kept = []
    for i in range(20_000):
        each = ticket(rng.choice(list(Priority)), f"camera-{i % 50}", queued_at=i)
        heap.push(each)
        if i % 10:
            heap.remove(each.job_key)
        else:
            kept.append(each.job_key)
    assert sorted(drain(heap, 10**9)) == sorted(kept)


def of_batch(priority: Priority = Priority.LOW, queued_at: float = 0.0) -> Ticket:
    return replace(ticket(priority, queued_at=queued_at), is_of_batch=True)


def test_batch_stands_behind_the_cameras_of_its_class_only() -> None:
    heap = JobHeap(capacity=10)
    batched, raised = of_batch(), of_batch(Priority.HIGH)
    low, normal, high = ticket(Priority.LOW), ticket(), ticket(Priority.HIGH)
    for each in (batched, raised, low, normal, high):
        heap.push(each)
    assert heap.position(batched.job_key) == 5
    assert heap.num_of_batches == 2
    assert heap.num_in(Priority.HIGH) == 2
    assert drain(heap) == [each.job_key for each in (high, raised, normal, low, batched)]
    assert heap.num_of_batches == 0


def test_batch_is_not_lifted_by_patience() -> None:
    heap = JobHeap(capacity=10, patience=1.0)
    batched, low = of_batch(), ticket(Priority.LOW, queued_at=100.0)
    heap.push(batched)
    heap.push(low)
    assert drain(heap, now=100.5) == [low.job_key, batched.job_key]


def test_full_heap_evicts_of_a_batch_first_however_important() -> None:
    heap = JobHeap(capacity=2)
    batched, low = of_batch(Priority.CRITICAL), ticket(Priority.LOW)
    assert heap.push(batched) is None
    assert heap.push(low) is None
    assert heap.room == 0
    assert heap.push(ticket(Priority.LOW)) == batched
    assert heap.push(late := of_batch()) == late


def test_newer_frame_of_a_camera_does_not_find_its_batch() -> None:
    heap = JobHeap(capacity=10)
    heap.push(of_batch())
    heap.push(own := ticket())
    assert heap.of_camera("front") == [own]


def test_heap_says_whether_a_batch_is_next() -> None:
    heap = JobHeap(capacity=10)
    assert not heap.is_batch_next(0.0)
    heap.push(of_batch(Priority.HIGH))
    assert heap.is_batch_next(0.0)
    heap.push(ticket(Priority.HIGH))
    assert not heap.is_batch_next(0.0)


def test_what_is_left_after_many_removals_keeps_its_order_and_its_evictions() -> None:
    """The dead outnumber the living several times on the way."""
    heap = JobHeap(capacity=5000, patience=10.0)
    tickets = [ticket(queued_at=float(number)) for number in range(9_990)]
    for each in tickets[:5000]:
        heap.push(each)
    for each in tickets[:4990]:
        heap.remove(each.job_key)
    for each in tickets[5000:]:
        assert heap.push(each) is None
    assert heap.push(ticket(queued_at=10_000.0)) is tickets[4990]  # the stalest of all
    assert heap.most_urgent(now=4991.0 + 10.0) is Priority.HIGH  # its patience is over
    assert drain(heap)[:3] == [each.job_key for each in tickets[4991:4994]]
