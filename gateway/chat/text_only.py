"""Answers to requests without a picture, in words that are already in them.

The model only speaks about pictures and is not asked. But clients send such requests around their
pictures: to see whether the server answers, for a title, for a report of what was seen.
"""

import re

_TITLE_WORDS = 6
_TITLE_CHARACTERS = 60
_MOST_EVENTS = 50
_SCANNED = 100_000  # characters; a report of a day has fewer

_TITLE = re.compile(
    r"\b(?:title|headline)\b[^\n:.]{0,80}?\b(?:text|description|caption|summary|event|following)"
    r"[^\n:.]{0,20}:",
    re.I,
)
_OPENING = re.compile(
    r"^(?:(?:the|this) (?:image|picture|photo|scene|frame)s? "
    r"(?:shows?|features?|depicts?|captures?|displays?)|"
    r"in (?:the|this) (?:image|picture|photo|scene|frame),?|there (?:is|are)|we (?:can )?see)\s+",
    re.I,
)
#: Words that no title ends with.
_DANGLING = re.compile(
    r"(?:an?|the|and|or|of|in|on|at|to|with|by|for|from|near|under|over|behind|is|are|was|were|its|"
    r"his|her|their|that|which|who|while|as|into)[,;]?",
    re.I,
)
_GREETING = re.compile(r"(?:hi|hello|hey|hallo|test|ping|good (?:morning|day|evening))\b", re.I)
_REPORT = re.compile(r"\bsummary\b|\breport\b", re.I)
_RANGE = re.compile(r"^Time range: ([^\n]{1,120})$", re.M)
_FIELD = r"""['"]%s['"]: (?:'((?:[^'\\]|\\.){1,300})'|"((?:[^"\\]|\\.){1,300})")"""
_EVENT_FIELDS = {name: re.compile(_FIELD % name) for name in ("title", "scene", "camera", "time")}
_THREAT = re.compile(r"""['"]potential_threat_level['"]: ([0-9])""")


def text_answer(text: str, model: str) -> str:
    """A short text, never empty.

    Args:
        text: What the user wrote.
        model: Who answers.
    """
    text = text[:_SCANNED].strip()
    titled = list(_TITLE.finditer(text))
    if titled:
        return title_of(text[titled[-1].end() :])
    if _REPORT.search(text) and (events := _events(text)):
        return _report(text, events)
    if not text or _GREETING.match(text):
        return f"Hello! I am {model}: send me a picture and a question about it."
    return f"I am {model} and only answer about pictures; there was none with this: {_start(text)}"


def title_of(text: str) -> str:
    """A title of a few words from the beginning of a text; never empty."""
    said = " ".join(text[:_SCANNED].split()).strip("\"' ")
    sentence = re.split(r"(?<=[.!?;])\s", _OPENING.sub("", said), maxsplit=1)[0]
    words = sentence.rstrip(".!?;:,").split(" ")
    cut = words[:_TITLE_WORDS]
    while 1 < len(cut) < len(words) and _DANGLING.fullmatch(cut[-1]):
        cut.pop()
    title = " ".join(cut).strip(" ,;:\"'")[:_TITLE_CHARACTERS].strip()
    return title[:1].upper() + title[1:] if title else "Event detected"


def _events(text: str) -> list[dict[str, str]]:
    """What a line says of an event: `{'title': …}`, as Frigate writes its reviews."""
    found = []
    for line in text.splitlines():
        if not line.startswith("{"):
            continue
        own = re.split(r"""['"]context['"]: \[""", line, maxsplit=1)[0]
        event = {}
        for name, pattern in _EVENT_FIELDS.items():
            if (match := pattern.search(own)) is not None:
                event[name] = re.sub(r"\\(.)", r"\1", match[1] or match[2])
        if (threat := _THREAT.search(own)) is not None:
            event["threat"] = threat[1]
        if "title" in event or "scene" in event:
            found.append(event)
    return found


def _report(text: str, events: list[dict[str, str]]) -> str:
    period = _RANGE.search(text)
    lines = [f"# Security Summary{f' - {period[1]}' if period else ''}", "", "## Timeline", ""]
    for event in events[:_MOST_EVENTS]:
        place = " | ".join(event[name] for name in ("time", "camera") if name in event)
        said = event.get("title") or title_of(event["scene"])
        mark = " (needs review)" if event.get("threat", "0") != "0" else ""
        lines.append(f"- {f'**{place}**: ' if place else ''}{said}{mark}")
    if len(events) > _MOST_EVENTS:
        lines.append(f"- and {len(events) - _MOST_EVENTS} more")
    num_marked = sum(event.get("threat", "0") != "0" for event in events)
    rest = f"{num_marked} of them to be reviewed." if num_marked else "Routine activity observed."
    number = "1 event" if len(events) == 1 else f"{len(events)} events"
    return "\n".join([*lines, "", "## Summary", "", f"{number}. {rest}"])


def _start(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= 80 else words[:80].rsplit(" ", 1)[0] + " …"
