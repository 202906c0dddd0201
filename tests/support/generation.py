"""Small engines for tests: random models with a vocabulary of made-up words, and naive answers."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from PIL import Image
from tokenizers import AddedToken
from tokenizers import Tokenizer as Vocabulary
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch import Tensor

from moondream2.config import MoondreamConfig
from moondream2.crops import Crops, prepare
from moondream2.generate import Engine
from moondream2.graphs import Recording
from moondream2.model import Moondream
from moondream2.tasks import Answer, Caption, Event, Failed, Finished, Request, Task
from moondream2.text import attend_with
from moondream2.tokens import Tokenizer
from tests.support.checkpoints import ODD_SHAPE, random_model

_NUM_SPECIAL = 10


def tokenizer_for(config: MoondreamConfig) -> Tokenizer:
    """Return a vocabulary of special ids 0..9 and words w10, w11, … after them."""
    words = {f"<{index}>": index for index in range(_NUM_SPECIAL)}
    words |= {f"w{index}": index for index in range(_NUM_SPECIAL, config.text.vocab_size)}
    vocabulary = Vocabulary(WordLevel(words, unk_token=f"w{_NUM_SPECIAL}"))
    vocabulary.pre_tokenizer = WhitespaceSplit()
    special = [AddedToken(f"<{index}>", special=True) for index in range(_NUM_SPECIAL)]
    vocabulary.add_special_tokens(special)
    return Tokenizer(vocabulary, config)


def odd_engine(model: Moondream | None = None, *, slots: int = 2, **options: Any) -> Engine:
    """Return an engine over a random model of unusual dimensions."""
    model = model or odd_model()
    return Engine(model, tokenizer_for(model.config), slots=slots, **options)


def odd_model(data: dict[str, Any] = ODD_SHAPE, *, seed: int = 0, eos: float = -2.0) -> Moondream:
    """Return a random model; `eos` is the bias of the stop token, small for long answers."""
    model = random_model(data, seed)
    model.text.lm_head.bias[model.config.tokens.eos] += eos
    return model


class RunsAgain:
    """Records like a CUDA graph, without one: the same memory in, the same memory out."""

    def __init__(self) -> None:
        self.num_recordings = 0

    def __call__(self, run: Callable[[], Tensor]) -> Recording:
        """Run once, and again at each replay."""
        self.num_recordings += 1
        output = run()
        return Recording(lambda: output.copy_(run()), output)


def picture(seed: int = 0, width: int = 90, height: int = 80) -> Image.Image:
    """Return noise; 90 x 80 is one crop, 220 x 120 are several."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (height, width, 3), generator=generator, dtype=torch.uint8)
    return Image.fromarray(pixels.numpy())


def request(
    model: Moondream,
    key: str = "a",
    *tasks: Task,
    rank: tuple[float, ...] = (0.0,),
    seed: int = 0,
    size: tuple[int, int] = (90, 80),
    **settings: Any,
) -> Request:
    """Return a request about noise; a caption unless tasks are given."""
    crops: Crops = prepare(picture(seed, *size), model.config.vision)
    settings = {"max_tokens": 12, "max_objects": 3} | settings
    return Request(key, rank, crops, tasks or (Caption("short"),), **settings)


def run(engine: Engine, requests: Iterable[Request] = ()) -> list[Event]:
    """Submit requests and step until nothing is left to do."""
    for each in requests:
        engine.submit(each)
    events: list[Event] = []
    while engine.has_work:
        events += engine.step()
    return events


def answers(events: Iterable[Event]) -> dict[str, tuple[Answer, ...]]:
    """Return the answers of all requests; none may have failed."""
    events = list(events)
    assert not [event for event in events if isinstance(event, Failed)]
    return {event.key: event.answers for event in events if isinstance(event, Finished)}


def discrete(answer: Answer) -> tuple[object, ...]:
    """Return what must be equal in an answer whatever its arithmetic: all but the confidence."""
    names = [name for name in answer.__slots__ if name != "confidence"]
    return tuple(getattr(answer, name) for name in names)


def naive_text(model: Moondream, crops: Crops, prompt: Iterable[int], max_tokens: int) -> list[int]:
    """Generate greedily without a cache: the whole sequence again for every token."""
    ids: list[int] = []
    start = _prefix(model, crops)
    while len(ids) < max_tokens:
        tail = model.text.embed(torch.tensor([*prompt, *ids]))
        logits = model.text.logits(_last_hidden(model, torch.cat((start, tail))))
        if ids:
            logits[model.config.tokens.answer or 0] = -torch.inf
        token = int(logits.argmax())
        if token == model.config.tokens.eos:
            break
        ids.append(token)
    return ids


def naive_log_probability(
    model: Moondream, crops: Crops | None, prompt: Sequence[int], answer: Sequence[int]
) -> float:
    """Read an answer behind its prompt without a cache, and weigh its tokens and the stop."""
    sequence = model.text.embed(torch.tensor([*prompt, *answer]))
    if crops is not None:
        sequence = torch.cat((_prefix(model, crops), sequence))
    prefix = 0 if crops is None else model.config.text.prefix_length
    hidden = _hidden(model, sequence, prefix)[-1 - len(answer) :]
    logits = model.text.logits(hidden)
    if model.config.release.suppression:
        logits[1:, model.config.tokens.answer or 0] = -torch.inf
    logs = logits.double().log_softmax(-1)
    return sum(float(logs[i, token]) for i, token in enumerate((*answer, model.config.tokens.eos)))


def naive_boxes(
    model: Moondream, crops: Crops, prompt: Iterable[int], max_objects: int
) -> tuple[list[int], list[tuple[int, int]]]:
    """Detect greedily without a cache; returns coordinate and size bins."""
    text, region = model.text, model.region
    sequence = torch.cat((_prefix(model, crops), text.embed(torch.tensor([*prompt]))))
    coordinates: list[int] = []
    sizes: list[tuple[int, int]] = []

    def read(hidden: Tensor, embed: Callable[[Tensor], Tensor]) -> Tensor:
        nonlocal sequence
        sequence = torch.cat((sequence, embed(hidden)))
        return _last_hidden(model, sequence)

    def coordinate(hidden: Tensor) -> Tensor:
        bins = region.coordinate_logits(hidden[None]).argmax(-1)
        coordinates.append(int(bins))
        return region.encode_coordinate(region.coordinate_value(bins)[:, None])

    def size(hidden: Tensor) -> Tensor:
        bins = region.size_logits(hidden[None]).argmax(-1)
        sizes.append((int(bins[0, 0]), int(bins[0, 1])))
        return region.encode_size(region.size_value(bins))

    hidden = _last_hidden(model, sequence)
    while len(sizes) < max_objects:
        if int(text.logits(hidden).argmax()) == model.config.tokens.eos:
            break
        for embed in (coordinate, coordinate, size):
            hidden = read(hidden, embed)
    return coordinates, sizes


def _prefix(model: Moondream, crops: Crops) -> Tensor:
    return model.prefix_embeddings(model.vision.encode([crops]))[0]  # (T, W)


def _last_hidden(model: Moondream, sequence: Tensor) -> Tensor:
    """Run a whole sequence behind a frame: (T, W) to (W,)."""
    return _hidden(model, sequence, model.config.text.prefix_length)[-1]


def _hidden(model: Moondream, sequence: Tensor, prefix: int) -> Tensor:
    """Run a whole sequence whose prefix sees itself in both directions: (T, W) to (T, W)."""
    length = len(sequence)
    mask = torch.ones(length, length, dtype=torch.bool).tril()
    mask[:prefix, :prefix] = True
    hidden: Tensor = model.text(sequence[None], torch.arange(length)[None], attend_with(mask))
    return hidden[0]
