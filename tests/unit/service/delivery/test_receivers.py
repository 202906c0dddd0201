from collections.abc import Sequence

from service.delivery import receivers as module
from service.delivery.receivers import Receivers, Turn

A, B = "http://a", "http://b"


class Site:
    """Receivers with messages that are all always due, as the store would give them."""

    def __init__(self, urls: dict[str, Sequence[int]], concurrency: int = 2, total: int = 10):
        self.receivers = Receivers(concurrency, total)
        self.urls = urls
        for name in urls:
            assert self.receivers.expect(name)

    def start(self, now: float) -> list[tuple[str, int]]:
        """Begin with everything that has its turn, and return what was begun."""
        started = []
        while (turn := self.receivers.next_turn(now)) is not None:
            keys = self._in_turn(turn)
            self.receivers.begin(turn, keys, now)
            started += [(turn.receiver, key) for key in keys]
        return started

    def _in_turn(self, turn: Turn) -> list[int]:
        after = -1 if turn.after is None else turn.after
        keys = sorted(self.urls.get(turn.receiver, ()), key=lambda key: (key <= after, key))
        return [key for key in keys if key not in turn.skip][: turn.num_urls]

    def refuse(self, name: str, key: int, now: float, pause: float = 10.0) -> None:
        """An attempt was answered badly."""
        self.receivers.answered(name)
        self._fail(name, key, now, pause)

    def ignore(self, name: str, key: int, now: float, pause: float = 10.0) -> None:
        """An attempt was not answered."""
        self.receivers.silent(name)
        self.receivers.hold(name, now + pause)
        self._fail(name, key, now, 1.0)

    def take(self, name: str, key: int) -> None:
        """An attempt succeeded, and nothing is left for its URL."""
        self.receivers.delivered(name, key)
        self.urls[name] = [each for each in self.urls[name] if each != key]
        self.receivers.release(name, key)

    def _fail(self, name: str, key: int, now: float, pause: float) -> None:
        if self.receivers.pause(name, key, now + pause):
            self.receivers.hold(name, now + pause)
        self.receivers.release(name, key)


def test_turn_is_one_request_to_a_url_and_others_beside_it() -> None:
    site = Site({A: [1], B: [1]})
    assert site.start(0.0) == [(A, 1), (B, 1)]
    assert site.start(0.0) == []
    site.receivers.release(A, 1)
    assert site.start(0.0) == [(A, 1)]


def test_turn_beyond_the_concurrency_waits_for_a_release() -> None:
    site = Site({A: [1, 2, 3]})
    assert site.start(0.0) == [(A, 1), (A, 2)]
    site.receivers.release(A, 1)
    assert site.start(0.0) == [(A, 3)]


def test_turn_goes_round_the_urls_of_a_receiver() -> None:
    site = Site({A: [1, 2, 3]}, concurrency=1)
    seen = []
    for _ in range(6):
        [(name, key)] = site.start(0.0)
        seen.append(key)
        site.receivers.release(name, key)
    assert seen == [1, 2, 3, 1, 2, 3]


def test_turn_goes_round_the_receivers_when_they_share_too_little() -> None:
    site = Site({f"http://{number}": range(100) for number in range(5)}, concurrency=2, total=2)
    served = []
    for _ in range(10):
        for name, key in site.start(0.0):
            served.append(name)
            site.receivers.release(name, key)
    assert {served.count(name) for name in site.urls} == {4}


def test_pause_blocks_one_url_for_its_time() -> None:
    site = Site({A: [1, 2]})
    assert site.start(0.0) == [(A, 1), (A, 2)]
    site.refuse(A, 1, 0.0, pause=5.0)
    site.take(A, 2)
    assert site.start(4.9) == []
    assert site.receivers.failing == [A]
    assert site.receivers.is_failing(A, 1)
    assert site.receivers.next_moment() == 5.0
    assert site.start(5.0) == [(A, 1)]


def test_pause_ends_in_the_order_of_time() -> None:
    site = Site({A: [1, 2], B: [1]})
    site.start(0.0)
    for name, key, pause in ((A, 1, 30.0), (A, 2, 10.0), (B, 1, 20.0)):
        site.refuse(name, key, 0.0, pause)
    assert site.start(0.0) == []
    assert [site.start(moment) for moment in (9.0, 10.0, 20.0, 30.0)] == [
        [],
        [(A, 2)],
        [(B, 1)],
        [(A, 1)],
    ]


def test_circuit_opens_after_three_silent_attempts_and_lets_one_through() -> None:
    site = Site({A: range(9), B: [1]}, concurrency=3)
    assert len(site.start(0.0)) == 4
    for key in range(3):
        site.ignore(A, key, 0.0, pause=10.0)
    assert site.receivers.is_open(A)
    assert site.start(5.0) == []
    assert site.receivers.next_moment() <= 10.0
    assert site.start(10.0) == [(A, 3)]
    assert site.start(10.0) == []
    site.take(A, 3)
    assert len(site.start(10.0)) == 3


def test_circuit_any_answer_starts_the_count_anew() -> None:
    site = Site({A: range(9)}, concurrency=5)
    site.start(0.0)
    site.ignore(A, 0, 0.0)
    site.ignore(A, 1, 0.0)
    site.refuse(A, 2, 0.0)
    site.ignore(A, 3, 0.0)
    site.ignore(A, 4, 0.0)
    assert not site.receivers.is_open(A)


def test_circuit_opens_when_more_urls_fail_than_are_remembered() -> None:
    most = module._MOST_PAUSED
    site = Site({A: range(1000)}, concurrency=most, total=most)
    for name, key in site.start(0.0):
        site.refuse(name, key, 0.0, pause=100.0)
    assert len(site.receivers._known[A].paused) == most
    assert not site.receivers.is_open(A)
    started = site.start(0.0)
    assert len(started) == most
    for name, key in started:
        site.refuse(name, key, 0.0, pause=5.0)
    assert site.receivers.is_open(A)
    assert site.start(4.0) == []
    [(_, probe)] = site.start(5.0)
    site.refuse(A, probe, 5.0, pause=10.0)
    assert site.start(14.0) == []
    [(_, probe)] = site.start(15.0)
    site.take(A, probe)
    assert len(site.start(15.0)) == most
    assert len(site.receivers._known[A].paused) <= most


def test_memory_of_receivers_that_are_served_is_given_back() -> None:
    receivers = Receivers(2, 10)
    for number in range(3000):
        name = f"http://host-{number}"
        assert receivers.expect(name)
        turn = receivers.next_turn(0.0)
        assert turn is not None
        receivers.begin(turn, [1], 0.0)
        receivers.delivered(name, 1)
        receivers.release(name, 1)
        turn = receivers.next_turn(0.0)
        assert turn is not None
        receivers.begin(turn, [], 0.0)
    assert receivers.is_complete
    assert receivers._known == receivers._unread == {}
    assert receivers._moments == []


def test_memory_of_a_url_whose_messages_are_gone_is_given_back() -> None:
    site = Site({A: [1, 2]})
    site.start(0.0)
    site.refuse(A, 1, 0.0, pause=5.0)
    site.refuse(A, 2, 0.0, pause=50.0)
    site.urls[A] = []
    assert site.start(5.0) == []
    assert list(site.receivers._known[A].paused) == [2]
    assert site.start(50.0) == []
    assert site.receivers._known == {}
    assert site.receivers.failing == []


def test_memory_of_invented_receivers_is_bounded_and_a_living_one_finds_a_place() -> None:
    most = 50
    site = Site({}, total=100_000)
    site.receivers = Receivers(2, 100_000, most)
    for number in range(5 * most):
        name = f"http://dead-{number}"
        site.urls[name] = [1]
        assert site.receivers.expect(name)
        for started in site.start(float(number)):
            site.refuse(*started, now=float(number), pause=1e9)
    assert len(site.receivers._known) == most
    assert len(site.receivers._moments) <= 2 * most + 65
    assert not site.receivers.is_complete
    site.urls[A] = [1]
    assert site.receivers.expect(A)
    assert site.start(5.0 * most) == [(A, 1)]


def test_memory_full_of_receivers_that_wait_for_their_turn_turns_away() -> None:
    receivers = Receivers(1, 1, most_known=10)
    names = [f"http://{number}" for number in range(10)]
    assert all(receivers.expect(name) for name in names)
    assert not receivers.expect(A)
    assert not receivers.is_complete


def test_forgotten_while_its_messages_are_read_it_is_known_again() -> None:
    receivers = Receivers(1, 10)
    receivers.expect(A)
    turn = receivers.next_turn(0.0)
    assert turn is not None
    del receivers._known[A]
    receivers.begin(turn, [7], 0.0)
    receivers.release(A, 7)
    assert receivers.next_turn(0.0) is not None
