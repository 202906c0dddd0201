from service.commands.live.sparkline import CaptionRate


def test_bars_grow_with_the_captions_of_ten_seconds() -> None:
    rate = CaptionRate()
    for second in (5, 15, 16, 25, 25, 25, 25, 25, 25):
        rate.count(second)
    assert rate.bars(39, 5) == "▁▃▄█▁"


def test_bars_of_nothing_are_flat() -> None:
    assert CaptionRate().bars(1000, 4) == "▁▁▁▁"


def test_hours_of_captions_are_kept_as_ten_minutes() -> None:
    rate = CaptionRate()
    for second in range(0, 36_000, 5):
        rate.count(second)
    assert rate.bars(36_000, 100).count("█") < 61
