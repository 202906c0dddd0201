"""Text to tokens and back: the vocabulary, the prompts, and the stream of pieces.

Text of users never yields an id with a meaning of its own: `<|coord|>` in a question is eight
characters of text, not a place in the picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer as Vocabulary

from moondream2.config import MoondreamConfig, TokenIds, Wrapping
from moondream2.errors import ModelFileError, MoondreamError
from moondream2.tasks import Caption, Choose, Detect, Gaze, Point, Query, Task

#: What the vocabulary of a public release must make of a word; its predecessors, published under
#: the same file name, make something else of it.
_PROBES = {"moondream/starmie-v1": ("query", [15381], 51200)}

#: Scripts without spaces: a piece may end after any of these characters.
_CJK = ((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x2F800, 0x2FA1F))


class PromptError(MoondreamError):
    """What was asked cannot be put to this model; another try cannot help."""

    code = "prompt"


@dataclass(frozen=True, slots=True)
class Coordinate:
    """One coordinate in 0..1 in the place of a token."""

    value: float


@dataclass(frozen=True, slots=True)
class Size:
    """Width and height in 0..1 in the place of a token."""

    width: float
    height: float


#: What the language model reads at one position: a token id, or an embedded number.
Feed = int | Coordinate | Size


class Tokenizer:
    """A vocabulary and the prompts of its model.

    Args:
        vocabulary: As published with the model.
        config: Ids and prompts.

    Raises:
        ModelFileError: The vocabulary belongs to another model.
    """

    def __init__(self, vocabulary: Vocabulary, config: MoondreamConfig) -> None:
        self.config = config
        self._vocabulary = vocabulary
        # Special strings in text are split like any other; `encode` makes sure of it.
        self._vocabulary.encode_special_tokens = True
        self.size: int = vocabulary.get_vocab_size()
        special = {i for i, token in vocabulary.get_added_tokens_decoder().items() if token.special}
        self._reserved = special | _meaningful(config.tokens)
        self._check(special)

    @classmethod
    def load(cls, file: Path | str, config: MoondreamConfig) -> "Tokenizer":
        """Read a `tokenizer.json`.

        Raises:
            ModelFileError: The file is missing, damaged, or belongs to another model.
        """
        try:
            text = Path(file).read_text(encoding="utf-8")
        except OSError as exc:
            raise ModelFileError(f"{file}: {exc.strerror or exc}") from exc
        try:
            vocabulary = Vocabulary.from_str(text)
        # The library raises nothing more specific.
        except Exception as exc:
            raise ModelFileError(f"{file}: not a tokenizer: {exc}") from exc
        return cls(vocabulary, config)

    def encode(self, text: str) -> list[int]:
        """Turn a user's text into ids, none of which has a meaning of its own."""
        # JSON can carry halves of surrogate pairs, which no vocabulary takes.
        text = text.encode("utf-8", "replace").decode("utf-8")
        ids = self._vocabulary.encode(text, add_special_tokens=False).ids
        return [token for token in ids if token not in self._reserved]

    def decode(self, ids: Sequence[int]) -> str:
        """Turn ids into text; special ids and ids outside of the vocabulary add nothing."""
        text: str = self._vocabulary.decode(list(ids), skip_special_tokens=True)
        return text

    def prompt(self, task: Task, *, has_image: bool = True) -> tuple[Feed, ...]:
        """Build what the model reads after the frame.

        Args:
            task: What is asked.
            has_image: The frame's prefix precedes the prompt; otherwise it starts with BOS.

        Raises:
            PromptError: The model does not have this skill.
        """
        if not has_image and not isinstance(task, Query | Choose):
            raise PromptError(f"{type(task).__name__.lower()} needs a frame")
        start = () if has_image else (self.config.tokens.bos,)
        match task:
            case Caption():
                return self._caption(task)
            case Query():
                return start + self._query(task)
            case Choose():
                return start + self._query(Query(task.question))
            case Detect():
                return self._object(self.config.prompts.detect, task.label)
            case Point():
                return self._object(self.config.prompts.point, task.label)
            case Gaze():
                return self._gaze(task)

    def spellings(self, choice: str) -> tuple[tuple[int, ...], ...]:
        """Return the different ways a model may write an answer: with a leading space, without.

        Raises:
            PromptError: Nothing of it can be written.
        """
        ways = dict.fromkeys(tuple(self.encode(space + choice)) for space in ("", " "))
        if not choice.strip() or () in ways:
            raise PromptError(f"the choice {choice!r} has no text that the model knows")
        return tuple(ways)

    def stream(self) -> "TextStream":
        """Return a new stream of pieces, by the rule of the release."""
        return TextStream(self, by_word=self.config.release.word_streaming)

    def _caption(self, task: Caption) -> tuple[Feed, ...]:
        lengths = self.config.prompts.caption
        if task.length not in lengths:
            raise PromptError(f"no caption length {task.length!r}: it has {', '.join(lengths)}")
        return lengths[task.length]

    def _query(self, task: Query) -> tuple[Feed, ...]:
        prompts, tokens = self.config.prompts, self.config.tokens
        space = " " if prompts.query_leading_space else ""
        places = tuple(feed for ref in task.spatial_refs for feed in _place(ref))
        if places and tokens.coord is None:
            raise PromptError("this release knows no places in questions")
        start = (*prompts.query.prefix, *places, *self.encode(space + task.question))
        if not task.reasoning:
            return start + prompts.query.suffix * prompts.query_suffix_repeats
        if tokens.thinking is None or tokens.answer is None:
            raise PromptError("this release does not reason")
        return (*start, tokens.answer, tokens.thinking)

    def _object(self, wrapping: Wrapping, label: str) -> tuple[Feed, ...]:
        space = " " if self.config.prompts.object_leading_space else ""
        return (*wrapping.prefix, *self.encode(space + label), *wrapping.suffix)

    def _gaze(self, task: Gaze) -> tuple[Feed, ...]:
        # The eye is rounded to bfloat16 whatever the model runs in.
        x, y = torch.tensor(task.eye, dtype=torch.bfloat16).tolist()
        before, after = self.encode("\n\nPoint:"), self.encode(" gaze\n\n")
        return (*before, Coordinate(x), Coordinate(y), *after)

    def _check(self, special: set[int]) -> None:
        name = self.config.name
        if self.size > self.config.text.vocab_size:
            raise ModelFileError(
                f"tokenizer of {self.size} entries for {self.config.text.vocab_size} of {name}"
            )
        if plain := sorted(_meaningful(self.config.tokens) - special):
            raise ModelFileError(
                f"tokenizer of another model than {name}: ids {plain} are not special in it"
            )
        if self.config.tokenizer is None or self.config.tokenizer.repo not in _PROBES:
            return
        word, ids, size = _PROBES[self.config.tokenizer.repo]
        if self.size != size or self.encode(word) != ids:
            raise ModelFileError(
                f"tokenizer of another model than {name}: {self.size} entries and {word!r} as "
                f"{self.encode(word)}, expected {size} and {ids} ({self.config.tokenizer.repo})"
            )


class TextStream:
    """Turns tokens into pieces of text as they come.

    The pieces joined are the text of the answer, also where a character is made of several tokens.

    Args:
        tokenizer: To decode with.
        by_word: Emit whole words; otherwise every token is decoded alone.
    """

    def __init__(self, tokenizer: Tokenizer, *, by_word: bool = True) -> None:
        self._tokenizer = tokenizer
        self._by_word = by_word
        self._ids: list[int] = []
        self._text = ""
        self._num_emitted = 0  # characters of `_text`

    def push(self, token: int) -> str:
        """Take the next token and return what can be shown now, which may be nothing."""
        if not self._by_word:
            return self._tokenizer.decode([token])
        self._ids.append(token)
        self._text = self._tokenizer.decode(self._ids)
        if self._text.endswith("\n"):
            piece = self.finish()
            self._ids.clear()
            self._text, self._num_emitted = "", 0
            return piece
        if self._text and _is_cjk(self._text[-1]):
            return self.finish()
        return self._emit(self._text.rfind(" ", self._num_emitted) + 1)

    def finish(self) -> str:
        """Return the rest."""
        return self._emit(len(self._text))

    def _emit(self, end: int) -> str:
        piece = self._text[self._num_emitted : end]
        self._num_emitted = max(self._num_emitted, end)
        return piece


def _meaningful(tokens: TokenIds) -> set[int]:
    ids = (
        tokens.bos,
        tokens.eos,
        tokens.answer,
        tokens.thinking,
        tokens.coord,
        tokens.size,
        tokens.start_ground_points,
        tokens.end_ground,
    )
    return {token for token in ids if token is not None}


def _place(ref: tuple[float, ...]) -> tuple[Feed, ...]:
    """Turn a point or a box into what the model reads."""
    if not all(0 <= value <= 1 for value in ref):
        raise PromptError(f"place {ref} is outside of 0..1")
    match ref:
        case (x, y):
            return Coordinate(x), Coordinate(y)
        case (x_min, y_min, x_max, y_max):
            centre = Coordinate((x_min + x_max) / 2), Coordinate((y_min + y_max) / 2)
            return (*centre, Size(x_max - x_min, y_max - y_min))
        case _:
            raise PromptError(f"a place has 2 or 4 numbers, not {len(ref)}")


def _is_cjk(character: str) -> bool:
    return any(first <= ord(character) <= last for first, last in _CJK)
