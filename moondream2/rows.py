"""The rows of words and of objects: what becomes of each token, coordinate and size."""

from collections.abc import Iterable

from moondream2.choices import choice_row
from moondream2.config import TokenIds
from moondream2.row import Choice, Head, Row
from moondream2.sampling import Pick, Picking, generator, geometric_mean
from moondream2.tasks import (
    Answer,
    Box,
    Caption,
    Choose,
    Detect,
    Gaze,
    Grounding,
    ObjectsAnswer,
    PointsAnswer,
    Query,
    Reasoning,
    Request,
    Task,
    TextAnswer,
)
from moondream2.tokens import Coordinate, Feed, Size, Tokenizer


class TextRow(Row):
    """A caption, or the answer to a question, with or without thoughts before it.

    Args:
        prompt: What the model reads first.
        tokenizer: For the pieces.
        request: Sampling and lengths.
        task_index: Of the task in the request.
        is_thinking: The prompt asks for thoughts.
    """

    def __init__(
        self,
        prompt: tuple[Feed, ...],
        tokenizer: Tokenizer,
        request: Request,
        task_index: int,
        *,
        is_thinking: bool,
    ) -> None:
        super().__init__(prompt, has_image=request.crops is not None)
        self._tokens = tokenizer.config.tokens
        self._suppresses = tokenizer.config.release.suppression
        self._request = request
        self._generator = generator(request.seed, task_index)
        self._stream = tokenizer.stream()
        self._thoughts = Thoughts(tokenizer) if is_thinking else None
        self._is_thinking = is_thinking
        self._ids: list[int] = []
        self._probabilities: list[float] = []
        self._text: list[str] = []

    @property
    def num_left(self) -> int:
        """All of the answer; a thought can be the last one, or ask for a place."""
        return 0 if self._is_thinking else self._request.max_tokens - len(self._ids)

    @property
    def picking(self) -> Picking:
        """As the request wants it; some ids are impossible after the first token of a phase."""
        return Picking(
            self._request.temperature, self._request.top_p, self._suppressed(), self._generator
        )

    def take_token(self, pick: Pick) -> str:
        """Take a token of the thoughts or of the answer."""
        return self._take_thought(pick) if self._is_thinking else self._take_word(pick)

    def take_coordinate(self, choice: Choice) -> None:
        """Take a place that the thoughts point at; it is read instead of the token."""
        assert self._thoughts is not None, "only thoughts have coordinates"
        self._thoughts.point(choice)
        self._read_thought(Coordinate(choice.value))

    def stop(self, reason: str) -> str:
        """End the answer where it is."""
        super().stop(reason)
        return self._show(self._stream.finish())

    def answer(self) -> TextAnswer:
        """Return the text."""
        assert self.stop_reason is not None, "the row has not ended"
        return TextAnswer(
            "".join(self._text),
            tuple(self._ids),
            geometric_mean(self._probabilities),
            self.stop_reason,
            self._thoughts.reasoning() if self._thoughts else None,
        )

    def _suppressed(self) -> tuple[int, ...]:
        if not self._suppresses:
            return ()
        if self._is_thinking and self._thoughts:
            return _known(self._tokens.eos, self._tokens.size) if self._thoughts.ids else ()
        return _known(self._tokens.answer) if self._ids else ()

    def _take_word(self, pick: Pick) -> str:
        if pick.token == self._tokens.eos:
            # An empty answer is as certain as the stop that made it empty.
            self._probabilities = self._probabilities or [pick.probability]
            return self.stop("stop_token")
        self._ids.append(pick.token)
        self._probabilities.append(pick.probability)
        self.feeds = [pick.token]
        piece = self._show(self._stream.push(pick.token))
        if len(self._ids) >= self._request.max_tokens:
            piece += self.stop("max_tokens")
        return piece

    def _take_thought(self, pick: Pick) -> str:
        assert self._thoughts is not None, "a thinking row has thoughts"
        if pick.token == self._tokens.answer:
            self._is_thinking = False
            self.feeds = [pick.token]
            return ""
        self._thoughts.ids.append(pick.token)
        if pick.token == self._tokens.coord:
            self.head = Head.COORDINATE
        else:
            self._read_thought(pick.token)
        return ""

    def _read_thought(self, feed: Feed) -> None:
        """Read on; at the limit, the thoughts are read to their end and the answer begins."""
        assert self._thoughts is not None, "a thinking row has thoughts"
        self.head = Head.TEXT
        self.feeds = [feed]
        if len(self._thoughts.ids) >= self._request.max_tokens:
            self._is_thinking = False
            self.feeds += _known(self._tokens.answer)

    def _show(self, piece: str) -> str:
        self._text.append(piece)
        return piece


class Thoughts:
    """What the model thinks before it answers.

    Args:
        tokenizer: To decode with.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.ids: list[int] = []
        self._choices: list[Choice] = []

    def point(self, choice: Choice) -> None:
        """Note the place of the last id."""
        self._choices.append(choice)

    def reasoning(self) -> Reasoning:
        """Return the thoughts, with the places that each part of them speaks about."""
        text, grounding = "", []
        places = iter(self._choices)
        for part in self._parts():
            start = len(text)
            text += self._tokenizer.decode(part)
            here = [next(places).value for token in part if token == self._tokens.coord]
            # A coordinate without its second half is dropped.
            points = tuple(zip(here[::2], here[1::2], strict=False))
            if points:
                grounding.append(Grounding(start, len(text), points))
        bins = tuple(choice.bin for choice in self._choices)
        return Reasoning(text, tuple(self.ids), bins, tuple(grounding))

    @property
    def _tokens(self) -> TokenIds:
        return self._tokenizer.config.tokens

    def _parts(self) -> Iterable[list[int]]:
        """Split at the ids that begin and end a part with places."""
        borders = (self._tokens.start_ground_points, self._tokens.end_ground)
        part: list[int] = []
        for token in self.ids:
            if token in borders:
                yield part
                part = []
            else:
                part.append(token)
        yield part


class ObjectsRow(Row):
    """Boxes or points, one after the other until the model stops.

    Each object costs a decision to go on, then its coordinates and, for boxes, its size. The token
    of the decision is never read: any but the stop token means one more object.

    Args:
        prompt: What the model reads first.
        tokens: Ids with a meaning.
        max_objects: Most objects.
        has_sizes: Boxes rather than points.
    """

    def __init__(
        self, prompt: tuple[Feed, ...], tokens: TokenIds, max_objects: int, *, has_sizes: bool
    ) -> None:
        super().__init__(prompt, has_image=True)
        self._tokens = tokens
        self._max_objects = max_objects
        self._has_sizes = has_sizes
        self._coordinates: list[Choice] = []
        self._sizes: list[tuple[Choice, Choice]] = []
        self._probabilities: list[float] = []

    def take_token(self, pick: Pick) -> str:
        """Take the decision to go on or stop."""
        if pick.token == self._tokens.eos:
            self._probabilities.append(pick.stop_probability)
            return self.stop("eos")
        self._probabilities.append(1 - pick.stop_probability)
        self.head = Head.COORDINATE
        return ""

    def take_coordinate(self, choice: Choice) -> None:
        """Take x, or y when x is known."""
        self._coordinates.append(choice)
        self._probabilities.append(choice.probability)
        self.feeds = [Coordinate(choice.value)]
        if len(self._coordinates) % 2:
            self.head = Head.COORDINATE
        elif self._has_sizes:
            self.head = Head.SIZE
        else:
            self._end_object()

    def take_size(self, width: Choice, height: Choice) -> None:
        """Take the size of the box whose centre is known."""
        self._sizes.append((width, height))
        self._probabilities += (width.probability, height.probability)
        self.feeds = [Size(width.value, height.value)]
        self._end_object()

    def answer(self) -> Answer:
        """Return the whole objects."""
        assert self.stop_reason is not None, "the row has not ended"
        # The end of the context can cut the last object short.
        num_objects = len(self._sizes) if self._has_sizes else len(self._coordinates) // 2
        whole = self._coordinates[: 2 * num_objects]
        bins = tuple(choice.bin for choice in whole)
        values = [choice.value for choice in whole]
        centres = tuple(zip(values[::2], values[1::2], strict=True))
        confidence = geometric_mean(self._probabilities)
        if not self._has_sizes:
            return PointsAnswer(centres, bins, confidence, self.stop_reason)
        boxes = tuple(
            _box(x, y, width.value, height.value)
            for (x, y), (width, height) in zip(centres, self._sizes, strict=True)
        )
        sizes = tuple((width.bin, height.bin) for width, height in self._sizes)
        return ObjectsAnswer(boxes, bins, sizes, confidence, self.stop_reason)

    def _end_object(self) -> None:
        self.head = Head.TEXT
        if len(self._coordinates) >= 2 * self._max_objects:
            self.stop("max_objects")


def row_of(request: Request, task_index: int, tokenizer: Tokenizer) -> Row:
    """Return the row of one task at its beginning.

    Raises:
        PromptError: The model does not have this skill.
    """
    task: Task = request.tasks[task_index]
    if isinstance(task, Choose):
        return choice_row(task, tokenizer, has_image=request.crops is not None)
    prompt = tokenizer.prompt(task, has_image=request.crops is not None)
    if isinstance(task, Caption | Query):
        thinks = isinstance(task, Query) and task.reasoning
        return TextRow(prompt, tokenizer, request, task_index, is_thinking=thinks)
    most = 1 if isinstance(task, Gaze) else request.max_objects
    tokens = tokenizer.config.tokens
    return ObjectsRow(prompt, tokens, most, has_sizes=isinstance(task, Detect))


def _box(x: float, y: float, width: float, height: float) -> Box:
    return Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def _known(*tokens: int | None) -> tuple[int, ...]:
    return tuple(token for token in tokens if token is not None)
