"""Times go into the database and come back exactly."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from service.store.rows import to_microseconds, to_moment
from tests.factories import NOON


@given(st.datetimes(timezones=st.timezones()))
def test_times_survive_to_the_microsecond(moment: datetime) -> None:
    # In UTC: Python calls a local time that occurs twice, or never, unequal to every other.
    assert to_moment(to_microseconds(moment)) == moment.astimezone(UTC)


def test_times_keep_their_order_around_1970() -> None:
    moments = [NOON - timedelta(days=365 * years) for years in (80, 60, 1, 0)]
    numbers = [to_microseconds(moment) for moment in moments]
    assert numbers == sorted(numbers)
    assert numbers[0] < 0
