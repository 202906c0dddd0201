"""When to connect again, how, and when never again."""

import pytest

from broker.options import ConnectionOptions
from broker.reconnect import Backoff, End, ProtocolChoice, Quiet, TakeoverDetector

UNREACHABLE = End("connection refused")
GOOD = End("lost", lasted_s=60.0, is_closed=True)
CLOSED = End("lost", lasted_s=0.1, is_closed=True)
RESET = End("lost", lasted_s=0.1)
DENIED = End("lost", lasted_s=0.1, is_closed=True, is_denied=True)
BUSY = End("lost", lasted_s=0.1, is_closed=True, is_busy=True)
BUSY_RESET = End("lost", lasted_s=0.1, is_busy=True)
ALONE = End("lost", lasted_s=2.0, is_closed=True, is_busy=True, is_alone=True)
SILENT = End("no answer", is_silent=True)
UNSUPPORTED = End("refused", is_unsupported=True)


def options(**fields: str) -> ConnectionOptions:
    return ConnectionOptions("127.0.0.1", "id", **fields)  # type: ignore[arg-type]


def tried(choice: ProtocolChoice, *ends: End) -> list[str]:
    """What is tried first, and after each end."""
    protocols: list[str] = [choice.current]
    for end in ends:
        choice.learn(end)
        protocols.append(choice.current)
    return protocols


@pytest.mark.parametrize("end", [GOOD, CLOSED])
def test_backoff_tries_at_once_after_a_connection_was_closed(end: End) -> None:
    assert Backoff().after(end) == 0.0


@pytest.mark.parametrize("end", [UNREACHABLE, DENIED])
def test_backoff_doubles_to_a_minute_with_jitter(end: End) -> None:
    backoff = Backoff()
    delays = [backoff.after(end) for _ in range(20)]
    for i, delay in enumerate(delays):
        longest = min(60.0, 2.0**i)
        assert longest / 2 <= delay <= longest
    assert len(set(delays)) == len(delays)


def test_backoff_stays_short_where_the_broker_accepts_and_the_network_fails() -> None:
    backoff = Backoff()
    assert all(0.5 <= backoff.after(RESET) <= 1.0 for _ in range(20))


def test_backoff_stays_short_where_only_single_messages_are_refused() -> None:
    backoff = Backoff()
    end = End("lost", lasted_s=0.1, is_closed=True, is_denied=True, is_useful=True)
    assert all(0.5 <= backoff.after(end) <= 1.0 for _ in range(20))


@pytest.mark.parametrize("is_closed", [True, False])
def test_backoff_tries_at_once_after_a_message_in_quarantine(is_closed: bool) -> None:
    end = End("lost", lasted_s=2.0, is_closed=is_closed, is_busy=True, is_alone=True)
    assert Backoff().after(end) == 0.0


def test_backoff_starts_again_after_a_connection() -> None:
    backoff = Backoff()
    for _ in range(5):
        backoff.after(UNREACHABLE)
    backoff.after(GOOD)
    assert backoff.after(UNREACHABLE) <= 1.0


def test_protocol_choice_goes_back_to_3_1_1_when_refused() -> None:
    choice = ProtocolChoice(options())
    assert tried(choice, UNSUPPORTED, GOOD, SILENT) == ["5", "3.1.1", "3.1.1", "3.1.1"]


def test_protocol_choice_tells_once_that_5_was_refused() -> None:
    choice = ProtocolChoice(options())
    assert [choice.learn(end) for end in (UNSUPPORTED, UNSUPPORTED)] == [True, False]


def test_protocol_choice_tries_both_in_turns_when_not_answered() -> None:
    choice = ProtocolChoice(options())
    assert tried(choice, *[SILENT] * 4) == ["5", "5", "3.1.1", "5", "3.1.1"]


def test_protocol_choice_after_silence_gives_5_another_try_at_each_reconnect() -> None:
    choice = ProtocolChoice(options())
    assert tried(choice, SILENT, SILENT, GOOD, SILENT) == ["5", "5", "3.1.1", "5", "3.1.1"]


def test_protocol_choice_does_not_learn_from_an_unreachable_broker() -> None:
    choice = ProtocolChoice(options())
    for _ in range(4):
        choice.learn(UNREACHABLE)
    assert choice.current == "5"


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_protocol_choice_does_what_the_operator_says(protocol: str) -> None:
    choice = ProtocolChoice(options(protocol=protocol))
    for end in (UNSUPPORTED, SILENT, SILENT):
        assert not choice.learn(end)
        assert choice.current == protocol


def test_takeover_is_believed_when_the_broker_says_so() -> None:
    end = End("session taken over", lasted_s=100.0, is_taken_over=True)
    assert TakeoverDetector().evidence(end) is not None


def test_takeover_is_found_after_five_short_connections_in_a_row() -> None:
    detector = TakeoverDetector()
    evidence = [detector.evidence(CLOSED) for _ in range(5)]
    assert evidence[:4] == [None] * 4
    assert evidence[4] is not None
    assert "5 times" in evidence[4]


@pytest.mark.parametrize("between", [UNREACHABLE, GOOD, SILENT, DENIED, RESET])
def test_takeover_is_not_found_when_the_broker_was_away_between(between: End) -> None:
    detector = TakeoverDetector()
    for _ in range(4):
        for end in (*[CLOSED] * 4, between):
            assert detector.evidence(end) is None


@pytest.mark.parametrize("busy", [BUSY, ALONE])
def test_takeover_is_not_found_where_something_was_on_its_way(busy: End) -> None:
    detector = TakeoverDetector()
    assert [detector.evidence(busy) for _ in range(20)] == [None] * 20


@pytest.mark.parametrize("busy", [BUSY, ALONE])
def test_takeover_is_found_by_quiet_connections_whatever_was_sent_between(busy: End) -> None:
    detector = TakeoverDetector()
    ends = [*[CLOSED, busy] * 4, CLOSED]
    assert [detector.evidence(end) is not None for end in ends] == [False] * 8 + [True]


def test_takeover_is_believed_when_the_broker_says_so_whatever_was_sent() -> None:
    end = End("taken over", lasted_s=0.1, is_taken_over=True, is_busy=True, is_alone=True)
    assert TakeoverDetector().evidence(end) is not None


@pytest.mark.parametrize("busy", [BUSY, BUSY_RESET])
def test_quiet_grows_while_connections_end_soon_with_something_on_its_way(busy: End) -> None:
    quiet = Quiet()
    assert [quiet.after(busy) for _ in range(5)] == [1.5, 3.0, 6.0, 8.0, 8.0]


def test_quiet_stays_while_quiet_connections_end_soon_too() -> None:
    quiet = Quiet()
    assert [quiet.after(end) for end in (BUSY, CLOSED, CLOSED, CLOSED)] == [1.5] * 4


def test_quiet_leaves_room_to_send_where_the_network_fails_again_and_again() -> None:
    quiet, lasting = Quiet(), 5.0
    is_quiet_to_the_end: list[bool] = []
    for _ in range(20):
        end = End("lost", lasted_s=lasting, is_busy=not any(is_quiet_to_the_end[-1:]))
        is_quiet_to_the_end.append(quiet.after(end) > lasting)
    assert sum(is_quiet_to_the_end) <= 5


@pytest.mark.parametrize("end", [GOOD, UNREACHABLE, SILENT, DENIED, ALONE, RESET])
def test_quiet_ends_when_the_reason_is_known_or_the_broker_was_away(end: End) -> None:
    quiet = Quiet()
    quiet.after(BUSY)
    assert quiet.after(end) == 0.0


def test_quiet_is_none_where_nothing_was_on_its_way() -> None:
    quiet = Quiet()
    assert [quiet.after(CLOSED) for _ in range(5)] == [0.0] * 5
