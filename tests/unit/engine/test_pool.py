import queue
import threading
import time
from functools import partial

from engine.pool import RankedPool


def test_most_urgent_work_goes_first_and_equal_ranks_keep_their_order() -> None:
    pool, order, gate = RankedPool(2), queue.SimpleQueue[str](), threading.Event()
    for number in range(2):
        pool.add((0.0,), f"blocker-{number}", lambda: assert_true(gate.wait(5)))
    time.sleep(0.05)
    for rank, name in ((2.0, "late"), (1.0, "first"), (1.0, "second"), (0.5, "urgent")):
        pool.add((rank,), name, partial(order.put, name))
    gate.set()
    found = [order.get(timeout=5) for _ in range(4)]
    # With two threads neighbours may swap.
    assert set(found[:2]) == {"urgent", "first"}
    assert set(found[2:]) == {"second", "late"}


def test_overdue_names_what_runs_too_long() -> None:
    pool, gate = RankedPool(), threading.Event()
    pool.add((0.0,), "slow", lambda: assert_true(gate.wait(5)))
    time.sleep(0.2)
    assert pool.overdue(0.1) == "slow"
    assert pool.overdue(10.0) is None
    gate.set()
    time.sleep(0.1)
    assert pool.overdue(0.0) is None


def assert_true(value: bool) -> None:
    assert value
