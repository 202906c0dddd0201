from service.receivers import Receivers


def origin_of(url: str) -> str:
    return "/".join(url.split("/")[:3])


def make_receivers(concurrency: int = 2, total: int = 10) -> Receivers:
    return Receivers(concurrency, total, origin_of)


def test_admit_one_url_at_a_time_and_others_beside_it() -> None:
    receivers = make_receivers()
    assert receivers.admit("http://a/1", 0.0)
    assert receivers.blocked(0.0) == {"http://a/1"}
    assert receivers.admit("http://b/1", 0.0)
    receivers.release("http://a/1")
    assert receivers.blocked(0.0) == {"http://b/1"}


def test_admit_beyond_the_concurrency_waits_for_a_release() -> None:
    receivers = make_receivers(concurrency=2)
    assert receivers.admit("http://a/1", 0.0)
    assert receivers.admit("http://a/2", 0.0)
    assert not receivers.admit("http://a/3", 0.0)
    assert "http://a/3" in receivers.blocked(0.0)
    receivers.release("http://a/1")
    assert "http://a/3" not in receivers.blocked(0.0)
    assert receivers.admit("http://a/3", 0.0)


def test_admit_those_who_wait_come_before_a_url_that_was_just_served() -> None:
    receivers = make_receivers(concurrency=1)
    assert receivers.admit("http://a/1", 0.0)
    assert not receivers.admit("http://a/2", 0.0)
    receivers.release("http://a/1")
    assert receivers.blocked(0.0) == {"http://a/1"}
    assert receivers.admit("http://a/2", 0.0)
    receivers.release("http://a/2")
    assert "http://a/1" not in receivers.blocked(0.0)


def test_admit_total_is_bounded() -> None:
    receivers = make_receivers(concurrency=2, total=3)
    admitted = [receivers.admit(f"http://{number}/", 0.0) for number in range(5)]
    assert admitted == [True, True, True, False, False]
    receivers.release("http://0/")
    assert {"http://3/", "http://4/"} & receivers.blocked(0.0) == set()
    assert receivers.admit("http://3/", 0.0)
    assert not receivers.admit("http://4/", 0.0)


def test_pause_blocks_one_url_for_its_time() -> None:
    receivers = make_receivers()
    receivers.admit("http://a/1", 0.0)
    receivers.pause("http://a/1", 5.0)
    receivers.release("http://a/1")
    assert receivers.blocked(4.9) == {"http://a/1"}
    assert receivers.next_turn(0.0) == 5.0
    assert receivers.blocked(5.0) == set()
    assert receivers.failing == ["http://a"]
    assert receivers.admit("http://a/2", 0.0)


def fail_silently(receivers: Receivers, url: str, now: float, pause: float) -> None:
    receivers.silent(url)
    receivers.hold(url, now + pause)
    receivers.pause(url, now + 1.0)
    receivers.release(url)


def test_circuit_opens_after_three_silent_attempts_and_lets_one_through() -> None:
    receivers = make_receivers(concurrency=4)
    for number in range(3):
        assert receivers.admit(f"http://a/{number}", 0.0)
    for number in range(3):
        fail_silently(receivers, f"http://a/{number}", 0.0, 10.0)
    assert not receivers.admit("http://a/new", 5.0)
    assert receivers.admit("http://b/", 5.0)
    assert receivers.next_turn(5.0) == 10.0
    assert receivers.admit("http://a/new", 10.0)
    assert not receivers.admit("http://a/0", 10.0)
    receivers.delivered("http://a/new")
    assert receivers.admit("http://a/0", 10.0)


def test_circuit_any_answer_starts_the_count_anew() -> None:
    receivers = make_receivers(concurrency=9)
    for number in range(5):
        url = f"http://a/{number}"
        assert receivers.admit(url, 0.0)
        if number == 2:
            receivers.answered(url)
            receivers.release(url)
        else:
            fail_silently(receivers, url, 0.0, 10.0)
    assert receivers.admit("http://a/new", 0.0)


def test_memory_holds_only_what_is_busy_failing_or_waiting() -> None:
    receivers = make_receivers()
    for number in range(1000):
        url = f"http://host-{number}/"
        assert receivers.admit(url, 0.0)
        receivers.delivered(url)
        receivers.release(url)
    receivers.admit("http://a/", 0.0)
    receivers.pause("http://a/", 5.0)
    receivers.release("http://a/")
    assert receivers.failing == ["http://a"]
    assert not receivers.keep_only(receivers.blocked(4.0))
    assert receivers.failing == ["http://a"]
    assert receivers.keep_only(receivers.blocked(5.0))
    assert receivers.failing == []
    assert receivers._lines == {}
    assert receivers._receivers == {}
