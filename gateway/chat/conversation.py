"""A conversation as this model can take part in it: it has no memory and looks at one picture.

So the newest question is asked about the newest pictures; what was said before is left out.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.problems import Problem
from schemas.frame import MAX_TEXT_CHARACTERS, Length

_ROOM = MAX_TEXT_CHARACTERS  #: of a question, in characters
# Of all that the system says, before what does not matter is taken out: a regular expression runs
# over it, for which the event loop waits, also where it runs in a thread.
_MOST_SYSTEM = 8 * _ROOM

#: What wants a caption and nothing else, without its blanks, in lower case.
_CAPTION_WORDS = re.compile(
    r"(?:please |can you |could you )*"
    r"(?:(?P<verb>describe|caption|explain|summari[sz]e)(?: what(?: is|'s| you see)? (?:in|on))?|"
    r"(?:give|write|generate)(?: me)? a (?P<short>short |brief )?(?P<long>long |detailed )?"
    r"(?:caption|description) (?:of|for)|"
    r"what(?: is|'s| do you see| can you see| can be seen) (?:in|on))"
    r" (?:this|the|that|my) (?:image|picture|photo|photograph|scene|frame|snapshot)"
    r"(?P<how> in detail| in great detail| briefly| shortly| in one sentence| in a few words)?"
    r"(?: please)?"
)
_SHORT = frozenset({"briefly", "shortly", "in one sentence", "in a few words"})


@dataclass(frozen=True, slots=True)
class Turn:
    """One message."""

    role: str
    text: str
    pictures: tuple[str, ...] = field(default=(), repr=False)  #: base64, data URIs or addresses


@dataclass(frozen=True, slots=True)
class Conversation:
    """What of a conversation counts."""

    system: str  #: all that the system said, but for who the assistant is
    text: str  #: the newest message of the user; empty: a picture alone
    earlier: tuple[str, ...] = ()  #: texts of the user before, oldest first
    pictures: tuple[str, ...] = field(default=(), repr=False)  #: of the newest message with any

    @classmethod
    def of(cls, turns: Sequence[Turn]) -> "Conversation":
        """What counts of the messages."""
        said = [turn for turn in turns if turn.role not in _SYSTEM]
        users = [turn.text for turn in said if turn.role == "user"] or [""]
        shown = [turn.pictures for turn in said if turn.pictures and turn.role != "assistant"]
        pictures = shown[-1] if shown else ()
        system = "\n".join(turn.text[:_MOST_SYSTEM] for turn in turns if turn.role in _SYSTEM)
        return cls(instructions(system), users[-1].strip(), tuple(users[:-1]), pictures)

    def question(self) -> dict[str, Any]:
        """The fields of a frame that ask the question.

        What only wants a description gets the model's caption, which is better than its answer to
        that question. What the system said comes before the question while there is room.

        Raises:
            Problem: `prompt`: the question is longer than the model's room.
        """
        whole = f"{self.system}\n\n{self.text}".strip()
        if len(whole) > _ROOM:
            whole = self.text
        if len(whole) > _ROOM:
            raise Problem(
                "prompt",
                f"the prompt has {len(whole)} characters; this model has room for {_ROOM}: "
                "shorten it, or send a response_format with a JSON schema, of which each property "
                "is asked by itself",
                param="messages",
            )
        length = caption_wanted(whole)
        if length is not None:
            return {"tasks": ["caption"], "length": length.value}
        return {"tasks": [{"query": whole}]}


_SYSTEM = frozenset({"system", "developer"})
_SENTENCE = re.compile(r"[^.!?\n]*(?:[.!?](?!\s|$)[^.!?\n]*)*[.!?]?\s*")
#: What clients tell every model: who it is, and the time. Before a question about a picture it only
#: misleads this one.
_ABOUT_THE_ASSISTANT = re.compile(
    r"\s*(?:you are|you're|act as|(?:the )?current (?:time|date) is|today's date is)\b", re.I
)


def instructions(system: str) -> str:
    """What of a system prompt matters to an answer about a picture; of a very long one no more."""
    sentences = _SENTENCE.findall(system[:_MOST_SYSTEM])
    return "".join(each for each in sentences if not _ABOUT_THE_ASSISTANT.match(each)).strip()


def caption_wanted(text: str) -> Length | None:
    """How long a caption the text asks for; None when it asks for anything else."""
    words = " ".join(text.lower().replace("\u2019", "'").split()).strip(" .?!:,")
    if not words:
        return Length.NORMAL
    found = _CAPTION_WORDS.fullmatch(words)
    if found is None:
        return None
    how = (found["how"] or "").strip()
    if found["short"] or how in _SHORT:
        return Length.SHORT
    return Length.LONG if found["long"] or "detail" in how else Length.NORMAL


def pick(pictures: Sequence[str], which: str) -> tuple[str, ...]:
    """Which of several pictures are looked at.

    Args:
        pictures: At least one.
        which: As `http.images` says: middle, first, last or each.
    """
    if which == "each":
        return tuple(pictures)
    places = {"first": 0, "middle": len(pictures) // 2, "last": -1}
    return (pictures[places[which]],)
