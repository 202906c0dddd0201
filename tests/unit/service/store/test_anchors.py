"""Which words of a search are looked up: the seldom ones, as long as that is less work."""

from service.store.anchors import anchors, pieces
from service.store.search_terms import terms_of

TEXTS = [
    f" a {'red' if i % 5 == 0 else 'green'} car is near the {'dog' if i % 100 == 0 else 'gate'} "
    for i in range(500)
]


def looked_up(query: str, texts: list[str] = TEXTS) -> list[str] | None:
    found = anchors(terms_of(query), TEXTS, texts)
    return None if found is None else [" ".join(term.words) for term in found]


def test_a_seldom_word_is_enough() -> None:
    assert looked_up('"a green car is near the dog"') == ["dog"]
    assert looked_up("the car is near a unicorn") == ["unicorn"]


def test_words_beside_each_other_stay_a_phrase() -> None:
    texts = [" a b seldom1 seldom2 c "] * 20 + [" a b seldom2 seldom1 c "] * 20 + [" a b c "] * 460
    assert anchors(terms_of('"a b seldom1 seldom2 c"'), texts, texts) is None  # 20 texts of 500
    texts[1:20] = [" a b c "] * 19
    found = anchors(terms_of('"a b seldom1 seldom2 c"'), texts, texts)
    assert found is not None
    assert [each.words for each in found] == [("seldom1", "seldom2")]


def test_common_words_are_all_left_to_the_index() -> None:
    assert looked_up('"car is near the"') is None
    assert looked_up("the car is near a") is None


def test_common_words_in_an_order_that_nobody_says_are_looked_up_as_two() -> None:
    assert looked_up('"the a the a"') == ["the a"]
    assert looked_up('"car is near the is near"') == ["the is"]
    assert looked_up('"is near" "the is" near') == ["the is"]


def test_short_searches_and_beginnings_are_left_to_the_index() -> None:
    assert looked_up("red dog") is None
    assert looked_up("a* c* d*") is None


def test_captions_of_one_camera_are_few() -> None:
    assert looked_up('"a green car is"', TEXTS[1:3]) == ["green"]


def test_no_captions_yet() -> None:
    assert anchors(terms_of("a b c"), [], []) is None


def test_pieces_begin_and_end_with_words() -> None:
    assert pieces(terms_of('dog "red ca*"')) == [" dog ", " red ca"]
