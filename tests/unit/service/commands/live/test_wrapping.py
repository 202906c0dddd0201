import tracemalloc

from rich.cells import cell_len

from service.commands.live.wrapping import crop, fit, harmless, wrap


def test_wrap_breaks_between_words_and_keeps_all() -> None:
    text = "A person in yellow is walking in the middle."
    lines = wrap(text, 20)
    assert " ".join(lines) == text
    assert all(cell_len(line) <= 20 for line in lines)


def test_wrap_counts_cells_and_breaks_words_that_are_too_long() -> None:
    lines = wrap("猫" * 15, 10)
    assert lines == ("猫" * 5,) * 3


def test_fit_marks_what_is_left_out() -> None:
    assert fit(("one two", "three", "four"), 2, 8) == ["one two", "three…"]
    assert fit(("one", "two"), 2, 8) == ["one", "two"]
    assert fit(("one two", "three"), 1, 7) == ["one…"]
    assert fit(("猫猫猫", "猫"), 1, 6) == ["猫猫…"]


def test_crop_keeps_the_width() -> None:
    assert crop("front_door", 6) == "front…"
    assert crop("猫猫猫", 4) == "猫…"
    assert crop("front", 0) == ""


def test_long_texts_are_not_kept() -> None:
    tracemalloc.start()
    try:
        for number in range(100):
            text = f"{number} " * 50_000
            assert len(wrap(text, 80)) > 1
            assert len(harmless(text)) <= 2000
        assert tracemalloc.get_traced_memory()[0] < 3_000_000
    finally:
        tracemalloc.stop()


def test_harmless_text_is_bounded_and_obeyed_by_no_terminal() -> None:
    assert harmless("\x1b]0;title\x07a\u202eb\x9b2J") == "]0;title a b 2J"
    assert len(harmless("e" + "\u0301" * 100_000)) <= 2000
