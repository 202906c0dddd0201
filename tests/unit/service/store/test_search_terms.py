"""Words of captions and of searches."""

import sqlite3
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.store.search_terms import Term, fts5_query, terms_of, tsquery, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A red Car.", ["a", "red", "car"]),
        ("Grüße, Café; naïve", ["grusse", "cafe", "naive"]),
        ("the dog's e-mail_box", ["the", "dog", "s", "e", "mail", "box"]),
        ("\uff13 \ufb01sh", ["3", "fish"]),
        ("\x00\ud800 - !", []),
        ("x" * 100, ["x" * 64]),
    ],
)
def test_words_are_folded(text: str, words: list[str]) -> None:
    assert list(words_of(text)) == words


@pytest.mark.parametrize(
    ("query", "terms"),
    [
        ("red car", [Term(("red",)), Term(("car",))]),
        ('"red car" Tür*', [Term(("red", "car")), Term(("tur",), is_prefix=True)]),
        ("dog's", [Term(("dog", "s"))]),
        ('"red ca*"', [Term(("red", "ca"), is_prefix=True)]),
        ('red "car', [Term(("red",)), Term(("car",))]),
        ("NOT (a OR b) words:c ^d", [Term((x,)) for x in ("not", "a", "or", "b")]
         + [Term(("words", "c")), Term(("d",))]),
        ('*** "" - \x00', []),
    ],
)  # fmt: skip
def test_a_query_is_words(query: str, terms: list[Term]) -> None:
    assert terms_of(query) == terms


def test_a_query_is_bounded() -> None:
    assert len(terms_of("a " * 1000)) == 16
    assert len(terms_of('"' + "a " * 1000 + '"')[0].words) == 16


@pytest.fixture(scope="module")
def index() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE VIRTUAL TABLE f USING fts5(camera, words)")
    yield connection
    connection.close()


@given(query=st.text(alphabet=st.characters() | st.sampled_from("\"*()^:+-~'\\"), max_size=40))
def test_no_text_is_a_mistake(index: sqlite3.Connection, query: str) -> None:
    if terms := terms_of(query):
        index.execute("SELECT rowid FROM f WHERE f MATCH ?", (fts5_query(terms, "c-1"),))
        assert tsquery(terms, "c-1").count("'") % 2 == 0
