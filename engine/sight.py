"""What the service asks of `engine.burst` and what it hears: both sides know these.

A question is a line of JSON and the pictures behind it; an answer is a line of JSON.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from engine.codec import Codec


@dataclass(frozen=True, slots=True)
class Seen:
    """What one picture shows."""

    sharpness: float  #: to be compared with the others'
    likeness: float  #: with the last captioned picture; see `engine.fingerprint`
    is_flat: bool  #: one colour
    problem: str | None  #: why it cannot be decoded; then nothing else counts


@dataclass(frozen=True, slots=True)
class _Question:
    sizes: tuple[int, ...]
    last: bytes | None
    limits: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Answer:
    seen: tuple[Seen, ...]


_QUESTIONS = Codec[_Question](_Question)
_ANSWERS = Codec[_Answer](_Answer)


def ask(pictures: Sequence[bytes], last: bytes | None, limits: dict[str, int]) -> bytes:
    """The question about some pictures of one camera.

    Args:
        last: Fingerprint of the camera's last captioned picture.
        limits: The fields of `ImageLimits`.
    """
    question = _Question(tuple(len(each) for each in pictures), last, limits)
    return b"".join([_QUESTIONS.encode(question), b"\n", *pictures])


def read_question(stream: BinaryIO) -> tuple[list[bytes], bytes | None, dict[str, int]]:
    """What `ask` was given.

    Raises:
        ValueError: It is no question.
    """
    question = _QUESTIONS.decode(stream.readline())
    return [stream.read(size) for size in question.sizes], question.last, question.limits


def answer(seen: Sequence[Seen]) -> bytes:
    """The answer."""
    return _ANSWERS.encode(_Answer(tuple(seen))) + b"\n"


def read_answer(data: bytes) -> Sequence[Seen]:
    """What `answer` was given.

    Raises:
        ValueError: It is no answer.
    """
    return _ANSWERS.decode(data).seen
