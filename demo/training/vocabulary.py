"""The vocabulary of the demonstration model: byte-level pairs learnt from the scenes' language."""

import random
from collections.abc import Iterator

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from demo.language import LABELS, Length, ask, caption
from demo.scenes.scene import draw_scene

#: In the order of their ids, which are those of Moondream2.
SPECIAL = (
    "<|endoftext|>",
    "<|md_reserved_0|>",
    "<|md_reserved_1|>",
    "<|md_reserved_2|>",
    "<|md_reserved_3|>",
    "<|coord|>",
    "<|size|>",
    "<|start_ground_points|>",
    "<|start_ground_text|>",
    "<|end_ground|>",
)
#: Words that stand in prompts.
SKILLS = ("describe", "query", "detect", "point", *Length)
#: 10 special ids, 256 bytes, and merges enough for every word of the language.
VOCABULARY_SIZE = 640
_SCENES = 3000


def learn_vocabulary(seed: int) -> Tokenizer:
    """Learn a vocabulary from sentences about scenes."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_sentences(seed), trainer)
    return tokenizer


def _sentences(seed: int) -> Iterator[str]:
    for index in range(_SCENES):
        rng = random.Random(f"vocabulary {seed} {index}")
        scene = draw_scene(index)
        yield from SKILLS
        yield from (f" {label}" for label in LABELS)
        yield from (caption(scene, length, rng) for length in Length)
        for _ in range(6):
            question = ask(scene, rng)
            yield question.text
            yield question.answer
