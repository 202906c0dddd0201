"""How long do push and pop take with 20,000 jobs waiting, and how much memory do they need?"""

import random
import time

import psutil

from bench._machine import describe
from schemas.frame import Priority
from service.queue.heap import JobHeap, Order, Ticket

NUM_JOBS = 20_000
NUM_CAMERAS = 40


def main() -> None:
    """Print the figures."""
    print(describe())
    orders: tuple[Order, ...] = ("oldest", "newest", "smallest")
    for order in orders:
        measure(order)


def measure(order: Order) -> None:
    """Push, push onto a full heap, and pop, with one order."""
    rng = random.Random(1)
    tickets = [
        Ticket(
            job_key=f"camera/job-{i}",
            camera_id=f"camera-{rng.randrange(NUM_CAMERAS)}",
            priority=Priority(rng.randrange(4)),
            queued_at=i / 1000,
            num_bytes=rng.randrange(1 << 20),
        )
        for i in range(2 * NUM_JOBS)
    ]
    before = psutil.Process().memory_info().rss
    heap = JobHeap(NUM_JOBS, order, patience=60.0)
    push = _timed(lambda: [heap.push(each) for each in tickets[:NUM_JOBS]])
    grown = psutil.Process().memory_info().rss - before
    evict = _timed(lambda: [heap.push(each) for each in tickets[NUM_JOBS:]])
    pop = _timed(lambda: [heap.pop(100.0) for _ in range(NUM_JOBS)])
    print(
        f"heap of {NUM_JOBS:,}, {order:8}: push {push:.1f} µs, push when full {evict:.1f} µs, "
        f"pop {pop:.1f} µs, {grown / NUM_JOBS:.0f} bytes a job"
    )


def _timed(run: object) -> float:
    """Microseconds per operation."""
    assert callable(run)
    started = time.perf_counter()
    run()
    return (time.perf_counter() - started) / NUM_JOBS * 1e6


if __name__ == "__main__":
    main()
