"""From the names and descriptions of properties to questions, and from answers to values."""

import math
import re

_STOP = (
    r"(?=\s+(?:in|on|at|that|which|who|are|is|were|was|visible|seen|present|there|you|can|do|does|"
    r"currently|detected|shown|appear|within|near|of|from|per|if|or|and)\b|[.,;:?!()]|$)"
)
_HOW_MANY = re.compile(
    r"\b(?:how many|(?:total |exact )?(?:number|count|amount|quantity) of)(?: different| distinct|"
    r" visible| all| the)*\s+([a-z][a-z -]{1,40}?)" + _STOP,
    re.I,
)
_COUNT_NAMES = (
    re.compile(r"(?:count|num|number|amount|total|how many)(?: of)? (.+)"),
    re.compile(r"(.+) (?:count|counts|total|amount|number)"),
)
_PLURALS = {"people": "person", "men": "man", "women": "woman", "children": "child"}
_LEVEL = re.compile(r"(?<![\d.])(\d{1,3})\s*(?:=|:|->|→|is|means)\s*([A-Za-z][^,;.:=()\n]{0,59})")
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:[.,]\d+)?(?:e[+-]?\d{1,3})?", re.I)
_SPELLED = re.compile(
    r"(zero|no|none|nobody|nothing)|(one|an?|single)|(two|couple|pair)|(three)|(four)|(five)|(six)|"
    r"(seven)|(eight)|(nine)|(ten)|(eleven)|(twelve|dozen)|(thirteen)|(fourteen)|(fifteen)|"
    r"(sixteen)|(seventeen)|(eighteen)|(nineteen)|(twenty)"
)
_NOTHING = re.compile(
    r"(?:none|no|nothing|nobody|no one|n/a|na|null|unknown|not (?:visible|applicable)|empty|"
    r"there (?:is|are) none|)",
    re.I,
)
_MOST_NAME = 64  # characters that can say what has to be counted
_BULLET = re.compile(r"^\s*(?:[-*•–]|\d{1,2}[.)])\s+")


def in_words(name: str) -> str:
    """`personCount` and `person_count` as `person count`."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return " ".join(re.sub(r"[_\-./]+", " ", spaced).split()).lower()


def counted_label(name: str, description: str) -> str | None:
    """What has to be counted, in the singular; None where the property is no count."""
    found = _HOW_MANY.search(description)
    if found is not None:
        return singular(found[1].strip().lower())
    words = in_words(name[:_MOST_NAME])
    for pattern in _COUNT_NAMES:
        if (match := pattern.fullmatch(words)) is not None:
            return singular(match[1])
    return None


def singular(label: str) -> str:
    """`parked cars` as `parked car`."""
    *before, word = label.split(" ")
    if word in _PLURALS:
        word = _PLURALS[word]
    elif word.endswith("ies") and len(word) > 4:
        word = f"{word[:-3]}y"
    elif word.endswith(("xes", "shes", "ches", "sses")):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    return " ".join([*before, word])


def levels(description: str) -> dict[int, str]:
    """The words of a scale: `0 = normal, 1 = suspicious` as {0: "normal", 1: "suspicious"}."""
    return {int(number): word.strip() for number, word in _LEVEL.findall(description)}


def number_in(text: str) -> float | None:
    """The first number of an answer, in digits or spelled; None where there is none."""
    found = _NUMBER.search(text)
    if found is not None:
        value = _float(found[0])
        return value / 100 if text[found.end() :].lstrip().startswith("%") else value
    for word in re.findall(r"[a-z]+", text.lower()):
        if (spelled := _SPELLED.fullmatch(word)) is not None and spelled.lastindex:
            return float(spelled.lastindex - 1)
    return None


def _float(digits: str) -> float:
    value = float(digits.replace(",", "."))
    return value if math.isfinite(value) else 0.0


def numbers_in(text: str) -> list[float]:
    """All numbers of an answer; one that is spelled where there are no digits."""
    found = [_float(each) for each in _NUMBER.findall(text)]
    if found:
        return found
    spelled = number_in(text)
    return [] if spelled is None else [spelled]


def is_nothing(text: str) -> bool:
    """Whether an answer says that there is none."""
    return _NOTHING.fullmatch(text.strip(" .!\n")) is not None


def parts_of(text: str, *, are_sentences: bool) -> list[str]:
    """The things an answer lists, each once.

    Args:
        text: The answer.
        are_sentences: Whether a comma is no end of one.
    """
    if is_nothing(text):
        return []
    lines = [_BULLET.sub("", line) for line in text.splitlines() if line.strip()]
    if len(lines) == 1:
        ends = r"(?<=[.!?])\s+|;\s*" if are_sentences or re.search(r"\.\s+\S", text) else _LISTED
        lines = re.split(ends, lines[0])
    stripped = (line.strip() if are_sentences else line.strip(" .") for line in lines)
    return list(dict.fromkeys(line for line in stripped if line))


_LISTED = r"\s*[,;]\s*(?:and\s+|or\s+)?|\s+and\s+"


_WHETHER = re.compile(r"^(?:whether(?: or not)?|(?:is )?true (?:if|when)|if) ", re.I)


def as_question(words: str, *, is_yes_or_no: bool = False) -> str:
    """What is asked, from a description or a name in words."""
    words = " ".join(words.split())
    if words.endswith("?"):
        return words
    if is_yes_or_no:
        claim = _WHETHER.sub("", words)
        if claim != words:
            return f"Is it true that {claim.rstrip('.')}?"
    said = words.rstrip(".")
    return f"{said[:1].upper()}{said[1:]}{'?' if is_yes_or_no else '.'}"
