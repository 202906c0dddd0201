"""Which words of a long search SQLite looks up in its index; the rest is read in the texts found.

FTS5 goes through the places of every word that it is asked for: a phrase of seven common words made
it read two million of them. A few seldom words leave so little that their texts are read instead.
How often words stand, and stand together, the newest captions say.
"""

from collections.abc import Collection, Iterator, Sequence, Set
from dataclasses import dataclass

from service.store.search_terms import Term

#: Captions that are counted in: 1 ms, and enough to tell words of each from words of one in fifty.
SAMPLE = 500
FEWEST_WORDS = 3  #: a search of fewer is left as it is

_PLACES_PER_TEXT = 50  # to fetch a text takes as long as to go through so many places of a word
_MOST_COUNTED = 32  # of the words asked for; the longest
_MOST_LOOKED_UP = 8  # where more say nothing, the next will not, and to count them takes long

_Place = tuple[int, int]  # of a word: which term, which of its words


@dataclass(frozen=True, slots=True)
class _Step:
    """More words that could be looked up."""

    chosen: frozenset[_Place]  #: with them
    lookup: int  #: what FTS5 has to do for all of it, in places of a word
    left: list[str]  #: captions that hold all of it


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
    whole = _lookup(places.values(), counts, texts)
    chosen, looked_up = frozenset[_Place](), 0
    while len(chosen) < min(_MOST_LOOKED_UP, len(places)):
        rest = [place for place in places if place not in chosen]
        seldomest = min(rest, key=lambda each: (_count(places[each], left), counts[places[each]]))
        steps = []
        for more in ({seldomest}, *_beside(rest, chosen)):
            wanted = chosen | more
            runs = [_spaced(run.words) for run in _runs(terms, wanted, counts)]
            still = [text for text in left if all(run in text for run in runs)]
            work = _lookup([places[each] for each in wanted], counts, texts)
            steps.append(_Step(wanted, work, still))
        step = min(steps, key=lambda each: each.lookup + _reading(each.left))
        if chosen and _reading(left) <= step.lookup - looked_up:
            break
        chosen, left, looked_up = step.chosen, step.left, step.lookup
    is_won = len(chosen) < len(places) and looked_up + _reading(left) < whole
    return _runs(terms, chosen, counts) if is_won else None


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


def _beside(places: Collection[_Place], chosen: Set[_Place]) -> Iterator[set[_Place]]:
    """What may stand seldom beside what is chosen; at first any two words beside each other.

    Words of nearly every caption still stand in few of them in an order that nobody says.
    """
    for i, k in places:
        if not chosen and (i, k + 1) in places:
            yield {(i, k), (i, k + 1)}
        elif not chosen.isdisjoint({(i, k - 1), (i, k + 1)}):
            yield {(i, k)}


def _lookup(words: Collection[str], counts: dict[str, int], texts: Collection[str]) -> int:
    """What it takes to look words up, in places of a word.

    All captions of each are gone through, and where all of them stand, their places there.
    """
    spaced = [_spaced([word]) for word in set(words)]
    num_all = sum(all(word in text for word in spaced) for text in texts)
    return sum(counts[word] for word in words) + num_all * len(words)


def _reading(left: Collection[str]) -> int:
    """What it takes to read so many texts, in places of a word."""
    return max(len(left), 1) * _PLACES_PER_TEXT


def _runs(terms: Sequence[Term], chosen: Set[_Place], counts: dict[str, int]) -> list[Term]:
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
