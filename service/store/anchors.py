"""Which words of a long search SQLite looks up in its index; the rest is read in the texts found.

FTS5 goes through the places of every word that it is asked for: a phrase of seven common words made
it read two million of them. A few seldom words leave so little that their texts are read instead.
How often words stand, and stand together, the newest captions say.
"""

from collections.abc import Collection, Sequence

from service.store.search_terms import Term

#: Captions that are counted in: 1 ms, and enough to tell words of each from words of one in fifty.
SAMPLE = 500
FEWEST_WORDS = 3  #: a search of fewer is left as it is

_PLACES_PER_TEXT = 50  # to fetch a text takes as long as to go through so many places of a word
_MOST_COUNTED = 32  # of the words asked for; the longest

_Place = tuple[int, int]  # of a word: which term, which of its words


def anchors(
    terms: Sequence[Term], texts: Collection[str], left: Collection[str]
) -> list[Term] | None:
    """What is looked up in the index, seldom words first.

    Args:
        terms: What is searched for.
        texts: Of some captions, their words with a space before, between and behind them.
        left: Those of the camera that is meant.

    Returns:
        Words that stand in all texts searched for, and beside each other as there; None where
        nothing is won: the index is asked for all of it.
    """
    places = _whole_words(terms)
    if len(places) < FEWEST_WORDS:
        return None
    counts = {word: _count(word, texts) for word in set(places.values())}
    chosen: set[_Place] = set()
    while places:
        place = min(places, key=lambda each: (_count(places[each], left), counts[places[each]]))
        if chosen and max(len(left), 1) * _PLACES_PER_TEXT <= counts[places[place]]:
            return _runs(terms, chosen, counts)
        del places[place]
        chosen.add(place)
        runs = [_spaced(run.words) for run in _runs(terms, chosen, counts)]
        left = [text for text in left if all(run in text for run in runs)]
    return None


def pieces(terms: Sequence[Term]) -> list[str]:
    """What a text must hold, with a space before and behind it, so that the terms match it."""
    return [_spaced(term.words).removesuffix(" " if term.is_prefix else "") for term in terms]


def _whole_words(terms: Sequence[Term]) -> dict[_Place, str]:
    found = {
        (i, k): word
        for i, term in enumerate(terms)
        for k, word in enumerate(term.words)
        if not (term.is_prefix and k == len(term.words) - 1)
    }
    longest = sorted(found, key=lambda each: len(found[each]), reverse=True)[:_MOST_COUNTED]
    return {place: found[place] for place in longest}


def _runs(terms: Sequence[Term], chosen: set[_Place], counts: dict[str, int]) -> list[Term]:
    """Chosen words, as phrases where they stand beside each other."""
    runs: list[list[str]] = []
    last: _Place | None = None
    for i, k in sorted(chosen):
        if last != (i, k - 1):
            runs.append([])
        runs[-1].append(terms[i].words[k])
        last = (i, k)
    runs.sort(key=lambda run: min(counts[word] for word in run))
    return [Term(tuple(run)) for run in runs]


def _count(word: str, texts: Collection[str]) -> int:
    spaced = f" {word} "
    return sum(spaced in text for text in texts)


def _spaced(words: Sequence[str]) -> str:
    return f" {' '.join(words)} "
