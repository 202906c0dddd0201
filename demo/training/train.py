"""Trains the demonstration model: `python -m demo.training.train`, or `make demo-model`.

The network is `moondream2` with small dimensions, so the weights load like the public ones.
Two stages share one schedule: first the image encoder alone learns to say, cell by cell, what is
where (a head that is thrown away afterwards), then everything learns the four skills together.
Without the first stage the language model would spend most of the time on images it cannot see in.

Every random choice follows from the seed and the step, so a resumed run repeats an unbroken one.
"""

import argparse
import json
import logging
import math
import os
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from demo.scenes.scene import Kind, draw_scene
from demo.training.lessons import (
    COLOUR_NAMES,
    COORDINATE,
    SIZE,
    Encode,
    GridTruth,
    Lesson,
    Prompts,
    grid_truth,
    make_lesson,
)
from demo.training.pool import Cut, Geometry, ScenePool
from demo.training.vocabulary import learn_vocabulary
from moondream2.config import (
    MoondreamConfig,
    RegionConfig,
    Release,
    Templates,
    TextConfig,
    TokenIds,
    VisionConfig,
    Wrapping,
)
from moondream2.crops import normalise, prepare
from moondream2.model import Moondream
from moondream2.text import attend_with

logger = logging.getLogger("demo.training.train")

VISION = VisionConfig(
    hidden_size=128,
    mlp_size=512,
    layers=5,
    heads=2,
    patch_size=14,
    crop_size=112,
    grid_size=8,
    max_crops=7,  # 2 x 3 local crops for the usual camera sizes
    overlap_margin=1,
    projector_hidden_size=512,
    projector_out_size=192,
)
REGION = RegionConfig(
    hidden_size=192,
    inner_size=256,
    coord_features=64,
    coord_bins=256,
    size_features=64,
    size_bins=256,
)
#: Width of the soft targets in bins: neighbouring bins are almost as right as the right one.
_COORD_SPREAD, _SIZE_SPREAD = 1.5, 2.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how hard to train."""

    seed: int
    #: Scenes drawn; each also appears mirrored.
    scenes: int
    #: Steps in which only the image encoder learns.
    sight_steps: int
    #: Steps in which everything learns.
    speech_steps: int
    #: Pictures in a step of the first stage.
    sight_batch: int
    #: Fewer in the second: each picture brings some twenty tasks.
    speech_batch: int
    learning_rate: float
    #: Positions for tasks after each image prefix.
    lesson_length: int

    @property
    def steps(self) -> int:
        """All steps."""
        return self.sight_steps + self.speech_steps

    def pictures(self, step: int) -> range:
        """The pictures of a step, numbered from the first of the first step on."""
        later = max(0, step - self.sight_steps)
        start = (step - later) * self.sight_batch + later * self.speech_batch
        size = self.sight_batch if step < self.sight_steps else self.speech_batch
        return range(start, start + size)


def make_config(tokenizer: Tokenizer, prompts: Prompts) -> MoondreamConfig:
    """The demonstration model's dimensions and prompts."""
    text = TextConfig(
        hidden_size=192,
        mlp_size=768,
        layers=4,
        heads=3,
        kv_heads=3,
        head_dim=64,
        rotary_dim=32,
        vocab_size=tokenizer.get_vocab_size(),
        max_context=512,
        prefix_length=1 + VISION.tokens,
    )
    return MoondreamConfig(
        name="moondream2mqtt-demo",
        text=text,
        vision=VISION,
        region=REGION,
        tokens=TokenIds(
            bos=0,
            eos=0,
            answer=3,
            thinking=4,
            coord=5,
            size=6,
            start_ground_points=7,
            end_ground=9,
        ),
        prompts=Templates(
            caption={str(length): tuple(ids) for length, ids in prompts.caption.items()},
            query=Wrapping(prefix=tuple(prompts.query), suffix=(3,)),
            detect=Wrapping(prefix=tuple(prompts.detect), suffix=(3,)),
            point=Wrapping(prefix=tuple(prompts.point), suffix=(3,)),
        ),
        release=Release(temperature=0.0, top_p=1.0, max_tokens=128),
    )


def cut(image: Image.Image) -> Cut:
    """Crops of a picture as the model takes them."""
    crops = prepare(image, VISION)
    return Cut(crops.pixels.numpy(), crops.tiling)


class Head(nn.Module):
    """Reads from each image embedding what is there; only used while training."""

    def __init__(self, width: int) -> None:
        super().__init__()
        kinds = len(Kind)
        self._parts = [kinds, kinds, 4, len(COLOUR_NAMES), 2]
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, sum(self._parts))

    def forward(self, embeddings: Tensor) -> tuple[Tensor, ...]:
        """Scores of cover, centre, box and colour, and the cell's own place; (F, cells, ...)."""
        scores: Tensor = self.out(self.norm(embeddings))
        return torch.split(scores.float(), self._parts, dim=-1)


class Batch:
    """Pictures with their lessons as tensors.

    Args:
        cuts: Crops of the pictures.
        grids: What each cell should know.
        lessons: The tasks, or empty in the first stage.
    """

    def __init__(
        self, cuts: Sequence[Cut], grids: Sequence[GridTruth], lessons: Sequence[Lesson]
    ) -> None:
        self.pixels = torch.from_numpy(np.concatenate([part.pixels for part in cuts]))
        self.tilings = [part.tiling for part in cuts]
        self.cover = _stack([grid.cover for grid in grids])
        self.centre = _stack([grid.centre for grid in grids])
        self.box = _stack([grid.box for grid in grids])
        self.has_box = _stack([grid.has_box for grid in grids])
        self.colour = _stack([grid.colour for grid in grids])
        if not lessons:
            return
        self.tokens = _stack([lesson.tokens for lesson in lessons])
        self.kinds = _stack([lesson.kinds for lesson in lessons])
        self.values = _stack([lesson.values for lesson in lessons])
        self.positions = _stack([lesson.positions for lesson in lessons])
        self.segments = _stack([lesson.segments for lesson in lessons])
        self.next_tokens = _stack([lesson.next_tokens for lesson in lessons])
        self.weights = _stack([lesson.weights for lesson in lessons])
        self.next_coordinates = _stack([lesson.next_coordinates for lesson in lessons])
        self.next_sizes = _stack([lesson.next_sizes for lesson in lessons])


def _stack(arrays: Sequence[NDArray[np.generic]]) -> Tensor:
    return torch.from_numpy(np.stack(arrays))


class School:
    """Makes the batch of any step from the pool.

    Args:
        pool: Drawn scenes.
        plan: Seed and sizes.
        encode: Of the vocabulary.
        prompts: Around each task.
    """

    def __init__(self, pool: ScenePool, plan: Plan, encode: Encode, prompts: Prompts) -> None:
        self._pool, self._plan, self._encode, self._prompts = pool, plan, encode, prompts
        self._epoch = -1
        self._order: list[int] = []

    def batch(self, step: int, *, with_lessons: bool) -> Batch:
        """The batch of a step."""
        rng = random.Random(f"{self._plan.seed} {step}")
        cuts, grids, lessons = [], [], []
        for place in self._plan.pictures(step):
            seed, is_mirrored = self._scene_at(place), rng.random() < 0.5
            scene = draw_scene(seed)
            scene = scene.mirrored() if is_mirrored else scene
            cuts.append(self._pool.read(seed, is_mirrored=is_mirrored))
            grids.append(grid_truth(scene, VISION.grid_size))
            if with_lessons:
                lesson = make_lesson(
                    scene,
                    self._encode,
                    self._prompts,
                    rng,
                    length=self._plan.lesson_length,
                    prefix_length=1 + VISION.tokens,
                )
                lessons.append(lesson)
        return Batch(cuts, grids, lessons)

    def _scene_at(self, place: int) -> int:
        epoch, index = divmod(place, self._plan.scenes)
        if epoch != self._epoch:
            self._order = list(range(self._plan.scenes))
            random.Random(f"{self._plan.seed} epoch {epoch}").shuffle(self._order)
            self._epoch = epoch
        return self._order[index]


def encode_images(model: Moondream, batch: Batch) -> Tensor:
    """Image embeddings (F, cells, W) of all pictures, as `VisionModel.encode` but batched."""
    vision = model.vision
    crops = normalise(batch.pixels, torch.float32, vision.pixel_dtype)
    features = vision(crops)  # (N, cells, width)
    numbers = [_number(tiling) for tiling in batch.tilings]
    parts = features.split(numbers)
    joined = torch.empty(0)
    order: list[int] = []
    rows: list[Tensor] = []
    for tiling in sorted(set(batch.tilings)):
        members = [index for index, own in enumerate(batch.tilings) if own == tiling]
        group = torch.stack([parts[index] for index in members])  # (M, n, cells, width)
        local = group[:, 1:].flatten(1, 2) if tiling != (1, 1) else group[:, 0]
        pooled = _pooling(model, tiling).to(local.dtype) @ local
        rows.append(torch.cat((group[:, 0], pooled), dim=-1))
        order += members
    joined = torch.cat(rows)[torch.tensor(order).argsort()]
    return vision.project(joined)


def _number(tiling: tuple[int, int]) -> int:
    return 1 if tiling == (1, 1) else 1 + tiling[0] * tiling[1]


_poolings: dict[tuple[int, int], Tensor] = {}


def _pooling(model: Moondream, tiling: tuple[int, int]) -> Tensor:
    """Stitching and pooling as one matrix: (cells, patches of the local crops)."""
    if tiling not in _poolings:
        patches = tiling[0] * tiling[1] * VISION.tokens
        identity = torch.eye(patches).reshape(-1, VISION.tokens, patches)
        _poolings[tiling] = model.vision.pool(identity, tiling)
    return _poolings[tiling]


def sight_loss(head: Head, embeddings: Tensor, batch: Batch) -> Tensor:
    """How far the image embeddings are from knowing what is where."""
    cover, centre, box, colour, place = head(embeddings)
    weight = 1 + 4 * batch.centre  # few cells hold the middle of something
    loss = F.binary_cross_entropy_with_logits(cover, batch.cover)
    loss = loss + 4 * F.binary_cross_entropy_with_logits(centre, batch.centre, weight)
    has_box = batch.has_box
    miss = F.smooth_l1_loss(box, batch.box, reduction="none", beta=0.1).mean(-1)
    loss = loss + (miss * has_box).sum() / has_box.sum().clamp(min=1)
    # Attention reads what an embedding says, so the embedding must say where it is.
    loss = loss + 0.5 * F.smooth_l1_loss(place, _places().expand_as(place), beta=0.1)
    known = batch.colour >= 0
    if known.any():
        loss = loss + 0.15 * F.cross_entropy(colour[known], batch.colour[known])
    return loss


def _places() -> Tensor:
    """Column and row of every cell, from -2 to 2: (cells, 2)."""
    line = torch.linspace(-2, 2, VISION.grid_size)
    return torch.stack((line.repeat(VISION.grid_size), line.repeat_interleave(VISION.grid_size)), 1)


def speech_losses(model: Moondream, embeddings: Tensor, batch: Batch) -> dict[str, Tensor]:
    """Losses of tokens, coordinates and sizes over all tasks of a batch."""
    prefix = model.prefix_embeddings(embeddings)
    inputs = _inputs(model, batch).to(prefix.dtype)
    B, P = prefix.shape[:2]
    positions = torch.cat((torch.arange(P).expand(B, P), batch.positions), dim=1)
    mask = lesson_mask(batch.segments, P)
    hidden = model.text(torch.cat((prefix, inputs), dim=1), positions, attend_with(mask))
    hidden = hidden[:, P:]
    spoken = batch.next_tokens >= 0
    scores = model.text.logits(hidden[spoken]).float()
    missed = F.cross_entropy(scores, batch.next_tokens[spoken], reduction="none")
    weights = batch.weights[spoken]
    placed = batch.next_coordinates >= 0
    sized = batch.next_sizes[..., 0] >= 0
    return {
        "text": (missed * weights).sum() / weights.sum(),
        "coord": _coordinate_loss(model, hidden[placed], batch.next_coordinates[placed]),
        "size": _size_loss(model, hidden[sized], batch.next_sizes[sized]),
    }


def _inputs(model: Moondream, batch: Batch) -> Tensor:
    """Embeddings (B, L, W) of tokens, coordinates and sizes."""
    inputs = model.text.embed(batch.tokens)
    flat, kinds, values = inputs.flatten(0, 1), batch.kinds.flatten(), batch.values.flatten(0, 1)
    with torch.autocast("cpu", enabled=False):
        coordinates = model.region.encode_coordinate(values[kinds == COORDINATE, :1])
        sizes = model.region.encode_size(values[kinds == SIZE])
    flat = flat.index_copy(0, (kinds == COORDINATE).nonzero()[:, 0], coordinates)
    flat = flat.index_copy(0, (kinds == SIZE).nonzero()[:, 0], sizes)
    return flat.view_as(inputs)


def lesson_mask(segments: Tensor, prefix_length: int) -> Tensor:
    """Who may see whom: (B, 1, T, T), True where a row may see a column.

    Args:
        segments: (B, L) number of the task at each position after the prefix.
        prefix_length: Positions that see each other and are seen by all.
    """
    full = F.pad(segments, (prefix_length, 0), value=0)
    T = full.shape[1]
    same = full[:, :, None] == full[:, None, :]
    causal = torch.ones(T, T, dtype=torch.bool).tril()
    is_prefix = torch.arange(T) < prefix_length
    mask = (same & causal) | is_prefix
    return mask.unsqueeze(1)


def _coordinate_loss(model: Moondream, hidden: Tensor, values: Tensor) -> Tensor:
    bins = REGION.coord_bins
    target = _soft(values * bins, bins, _COORD_SPREAD)
    return F.cross_entropy(model.region.coordinate_logits(hidden).float(), target)


def _size_loss(model: Moondream, hidden: Tensor, values: Tensor) -> Tensor:
    bins = REGION.size_bins
    octaves = values.clamp(min=2.0**-10).log2() + 10
    target = _soft(octaves / 10 * (bins - 1), bins, _SIZE_SPREAD)  # (N, 2, bins)
    scores = model.region.size_logits(hidden).float()
    return F.cross_entropy(scores.flatten(0, 1), target.flatten(0, 1))


def _soft(middles: Tensor, bins: int, spread: float) -> Tensor:
    """Targets (..., bins) that fall off like a bell around the true bin."""
    distance = torch.arange(bins) - middles.unsqueeze(-1)
    return torch.softmax(-0.5 * (distance / spread) ** 2, dim=-1)


class Trainer:
    """Model, optimiser and the state of a run.

    Args:
        plan: What to do.
        folder: Pool, checkpoints and log of the run.
        out: Receives the finished model folder.
    """

    def __init__(self, plan: Plan, folder: Path, out: Path) -> None:
        self.plan, self.folder, self.out = plan, folder, out
        self.tokenizer = learn_vocabulary(plan.seed)
        encode = lru_cache(200_000)(
            lambda text: tuple(self.tokenizer.encode(text, add_special_tokens=False).ids)
        )
        prompts = Prompts.of(lambda text: list(encode(text)))
        self.config = make_config(self.tokenizer, prompts)
        torch.manual_seed(plan.seed)
        self.model = Moondream(self.config).float()
        self.head = Head(self.config.text.hidden_size)
        geometry = Geometry(1 + VISION.max_crops, VISION.crop_size)
        self.pool = ScenePool(folder / "pool", plan.scenes, geometry)
        self.school = School(self.pool, plan, lambda text: list(encode(text)), prompts)
        parameters = [*self.model.parameters(), *self.head.parameters()]
        self.optimiser = torch.optim.AdamW(
            [
                {"params": [part for part in parameters if part.ndim > 1], "weight_decay": 0.05},
                {"params": [part for part in parameters if part.ndim <= 1], "weight_decay": 0.0},
            ],
            lr=plan.learning_rate,
            betas=(0.9, 0.98),
        )
        self.step = 0

    def draw(self, processes: int) -> None:
        """Draw the scenes that the pool lacks."""
        started, last = time.monotonic(), 0
        # One thread each: several would only wait for each other on such small pictures.
        alone = partial(torch.set_num_threads, 1)
        for done in self.pool.fill(cut, processes, alone):
            if done - last >= 1000:
                last = done
                logger.info("%d scenes drawn in %.0f s", done, time.monotonic() - started)

    def run(self, *, checkpoint_s: float) -> None:
        """Train to the end of the plan, with a checkpoint every so many seconds."""
        started = saved = time.monotonic()
        while self.step < self.plan.steps:
            losses = self._learn()
            self.step += 1
            if self.step % 25 == 0:
                rate, started = (time.monotonic() - started) / 25, time.monotonic()
                shown = " ".join(f"{name} {value:.3f}" for name, value in losses.items())
                left = rate * (self.plan.steps - self.step) / 60
                logger.info("step %d %s %.2f s/step, %.0f min left", self.step, shown, rate, left)
            if time.monotonic() - saved > checkpoint_s:
                self.save()
                saved = time.monotonic()
        self.save()
        self.export()

    def _learn(self) -> dict[str, float]:
        """Take one step and return its losses."""
        speaks = self.step >= self.plan.sight_steps
        batch = self.school.batch(self.step, with_lessons=speaks)
        for group in self.optimiser.param_groups:
            group["lr"] = self.plan.learning_rate * self._rate()
        with torch.autocast("cpu", torch.bfloat16):
            embeddings = encode_images(self.model, batch)
            losses = {"sight": sight_loss(self.head, embeddings, batch)}
            if speaks:
                losses |= speech_losses(self.model, embeddings, batch)
        self.optimiser.zero_grad(set_to_none=True)
        total = torch.stack([_WEIGHTS[name] * loss for name, loss in losses.items()]).sum()
        total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        return {name: loss.item() for name, loss in losses.items()}

    def _rate(self) -> float:
        """Learning rate as a part of the highest: up in each stage, down along one cosine."""
        speaks = self.step >= self.plan.sight_steps
        rise = min(1.0, (self.step + 1 - speaks * self.plan.sight_steps) / 60)
        fall = 0.5 * (1 + math.cos(math.pi * self.step / self.plan.steps))
        return rise * (0.02 + 0.98 * fall)

    def save(self) -> None:
        """Write the checkpoint, replacing the last one in one step."""
        state = {
            "step": self.step,
            "model": self.model.state_dict(),
            "head": self.head.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        part = self.folder / "checkpoint.part"
        torch.save(state, part)
        os.replace(part, self.folder / "checkpoint.pt")

    def resume(self) -> None:
        """Go on from the checkpoint, when there is one."""
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.head.load_state_dict(state["head"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = state["step"]
        logger.info("resumed at step %d", self.step)

    def export(self) -> None:
        """Write the model folder that the service loads: names, prefix and dtype as published."""
        self.out.mkdir(parents=True, exist_ok=True)
        state = {
            f"model.{name}": tensor.detach().to(torch.bfloat16).contiguous()
            for name, tensor in self.model.state_dict().items()
        }
        weights = self.out / "model.safetensors"
        save_file(state, weights, metadata={"format": "pt"})
        weights.chmod(0o644)  # the library makes it readable for its owner only
        self.tokenizer.save(str(self.out / "tokenizer.json"))
        config = asdict(self.config)
        del config["tokenizer"]
        text = json.dumps(config, indent=1) + "\n"
        (self.out / "config.json").write_text(text, encoding="utf-8")
        logger.info("%s written at step %d", self.out, self.step)


#: Coordinates matter less than words per target, and there are fewer words to get wrong.
_WEIGHTS = {"sight": 1.0, "text": 1.0, "coord": 0.5, "size": 0.3}


def main() -> None:
    """Train from the command line."""
    parser = argparse.ArgumentParser(prog="python -m demo.training.train", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("runs/demo"), help="pool, checkpoints")
    parser.add_argument("--out", type=Path, default=Path("demo/model"), help="the finished model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scenes", type=int, default=16000, help="scenes to draw")
    parser.add_argument("--sight-steps", type=int, default=1500)
    parser.add_argument("--speech-steps", type=int, default=9900)
    parser.add_argument("--sight-batch", type=int, default=32, help="pictures in a step")
    parser.add_argument("--speech-batch", type=int, default=16, help="the same, second stage")
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--lesson-length", type=int, default=224)
    parser.add_argument("--threads", type=int, default=2, help="threads and drawing processes")
    parser.add_argument("--checkpoint-s", type=float, default=120)
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument("--export-only", action="store_true", help="write the checkpoint's model")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    plan = Plan(
        seed=options.seed,
        scenes=options.scenes,
        sight_steps=options.sight_steps,
        speech_steps=options.speech_steps,
        sight_batch=options.sight_batch,
        speech_batch=options.speech_batch,
        learning_rate=options.learning_rate,
        lesson_length=options.lesson_length,
    )
    trainer = Trainer(plan, options.folder, options.out)
    if options.resume or options.export_only:
        trainer.resume()
    if options.export_only:
        trainer.export()
        return
    trainer.draw(options.threads)
    torch.set_num_threads(options.threads)
    trainer.run(checkpoint_s=options.checkpoint_s)


if __name__ == "__main__":
    main()
