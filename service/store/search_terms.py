"""The words of captions and of searches, the same for both databases.

Words are cut and folded here and not by the database, so that both find the same: case, accents
and umlauts count for nothing, and whatever is no letter and no digit parts words. What is searched
for is words too: no text is a mistake of syntax.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from schemas.result import ResultDocument

MOST_WORDS = 2000  #: of a caption with its answers; the rest is not searched
_LONGEST_WORD = 64  # characters; what is behind counts for nothing
_MOST_TERMS = 16

_WORD = re.compile(r"[^\W_]+")
_PART = re.compile(r'"([^"]*)"|(\S+)')


@dataclass(frozen=True, slots=True)
class Term:
    """Words that have to stand behind each other."""

    words: tuple[str, ...]
    is_prefix: bool = False  #: the last one may go on


def words_of(text: str) -> Iterator[str]:
    """The words of a text, folded, in their order."""
    plain = text.casefold()
    if not plain.isascii():  # most are
        parts = unicodedata.normalize("NFKD", plain)
        plain = "".join(each for each in parts if not unicodedata.combining(each))
    for word in _WORD.findall(plain):
        yield word[:_LONGEST_WORD]


def words_of_result(document: ResultDocument) -> list[str]:
    """Those of a caption and of the answers."""
    if document.result is None:
        return []
    texts = (document.result.caption, *(each.answer for each in document.result.answers))
    return [word for text in texts for word in words_of(text)][:MOST_WORDS]


def terms_of(query: str) -> list[Term]:
    """What is searched for: words, `"phrases in quotes"` and `beginnings*`; all have to be there.

    What a mark parts, as in `dog's`, is a phrase. No terms: the query holds no word.
    """
    terms: list[Term] = []
    for match in _PART.finditer(query):
        quoted, bare = match.groups()
        text = quoted if bare is None else bare
        if words := tuple(words_of(text)):
            terms.append(Term(words[:_MOST_TERMS], text.rstrip('"').endswith("*")))
    return terms[:_MOST_TERMS]


def fts5_query(terms: Iterable[Term], camera_id: str | None) -> str:
    """For a table of the columns `camera` and `words`."""
    found = [
        f'words : "{" ".join(term.words)}"' + (" *" if term.is_prefix else "") for term in terms
    ]
    if camera_id is not None:
        found.append(f'camera : "{camera_token(camera_id)}"')
    return " AND ".join(found)


def camera_token(camera_id: str) -> str:
    """A camera as one word, whatever marks are in its id."""
    return camera_id.encode().hex()


def tsvector(camera_id: str, words: Sequence[str]) -> str:
    """PostgreSQL's own form of a document, so that it cuts no words itself."""
    places: dict[str, list[int]] = {}
    for place, word in enumerate(words, 1):
        places.setdefault(word, []).append(place)
    lexemes = [f"'{word}':{','.join(map(str, at))}" for word, at in places.items()]
    return " ".join([f"'@{camera_id}'", *lexemes])


def tsquery(terms: Iterable[Term], camera_id: str | None) -> str:
    """The same for what is searched for."""
    found = [
        " <-> ".join(
            f"'{word}'" + (":*" if term.is_prefix and i == len(term.words) else "")
            for i, word in enumerate(term.words, 1)
        )
        for term in terms
    ]
    if camera_id is not None:
        found.append(f"'@{camera_id}'")
    return " & ".join(f"({each})" for each in found)
