from pathlib import Path

import pytest
import torch
from PIL import Image

from demo.scenes.render import render
from demo.scenes.scene import draw_scene
from demo.training.lessons import grid_truth
from demo.training.train import (
    VISION,
    Batch,
    Plan,
    Trainer,
    cut,
    encode_images,
    lesson_mask,
    speech_losses,
)
from moondream2.config import MoondreamConfig
from moondream2.crops import prepare
from moondream2.model import Moondream
from moondream2.tokens import Tokenizer

PLAN = Plan(
    seed=1,
    scenes=6,
    sight_steps=1,
    speech_steps=1,
    sight_batch=2,
    speech_batch=2,
    learning_rate=1e-3,
    lesson_length=120,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with the scenes drawn."""
    path = tmp_path_factory.mktemp("run")
    Trainer(PLAN, path, path / "model").draw(processes=1)
    return path


def test_plan_pictures_follow_each_other_across_the_stages() -> None:
    plan = Plan(0, 10, 2, 2, 4, 3, 1e-3, 100)
    numbers = [list(plan.pictures(step)) for step in range(4)]
    assert numbers == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10], [11, 12, 13]]


def test_encode_images_equals_the_models_own_encoding(folder: Path) -> None:
    trainer = Trainer(PLAN, folder, folder / "model")
    # Three tilings: 2 x 3, 1 x 3 and a single crop.
    images = [render(draw_scene(1, (640, 480))), render(draw_scene(2, (640, 360)))]
    images.append(Image.new("RGB", (90, 60), "grey"))
    nothing = grid_truth(draw_scene(0).with_things([]), VISION.grid_size)
    batch = Batch([cut(image) for image in images], [nothing] * 3, [])
    with torch.no_grad():
        ours = encode_images(trainer.model, batch)
        theirs = trainer.model.vision.encode([prepare(image, VISION) for image in images])
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert len(set(batch.tilings)) == 3


def test_lesson_mask_shows_prefix_and_own_task_only() -> None:
    mask = lesson_mask(torch.tensor([[1, 1, 2, -1]]), prefix_length=2)[0, 0].int().tolist()
    assert mask == [
        [1, 1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],
        [1, 1, 0, 0, 0, 1],
    ]


def test_speech_losses_of_a_task_do_not_depend_on_its_neighbours(folder: Path) -> None:
    trainer = Trainer(PLAN, folder, folder / "model")
    batch = trainer.school.batch(1, with_lessons=True)
    is_first = batch.segments == 1
    batch.next_tokens[~is_first] = -1
    with torch.no_grad():
        embeddings = encode_images(trainer.model, batch)
        before = speech_losses(trainer.model, embeddings, batch)["text"]
        batch.tokens[~is_first] = 11
        after = speech_losses(trainer.model, embeddings, batch)["text"]
        batch.tokens[is_first] = 11
        changed = speech_losses(trainer.model, embeddings, batch)["text"]
    assert after == pytest.approx(before.item(), abs=1e-5)
    assert changed.item() != pytest.approx(before.item(), abs=1e-3)


def test_trainer_resumed_run_repeats_an_unbroken_one(folder: Path) -> None:
    unbroken = Trainer(PLAN, folder, folder / "unbroken")
    unbroken.run(checkpoint_s=1e9)
    (folder / "checkpoint.pt").unlink()
    first = Trainer(PLAN, folder, folder / "broken")
    first.plan = Plan(1, 6, 1, 0, 2, 2, 1e-3, 120)
    first._learn()
    first.step += 1
    first.save()
    resumed = Trainer(PLAN, folder, folder / "broken")
    resumed.resume()
    assert resumed.step == 1
    resumed.run(checkpoint_s=1e9)
    for name, tensor in resumed.model.state_dict().items():
        assert torch.allclose(tensor, unbroken.model.state_dict()[name], atol=1e-4), name


def test_trainer_export_is_a_model_folder_of_the_service(folder: Path) -> None:
    trainer = Trainer(PLAN, folder, folder / "model")
    trainer.export()
    config = MoondreamConfig.from_folder(folder / "model")
    assert config == trainer.config
    loaded = Moondream.load(folder / "model")
    weight = trainer.model.text.wte.detach()
    assert torch.equal(loaded.text.wte, weight.bfloat16().float())
    tokenizer = Tokenizer.load(folder / "model" / "tokenizer.json", config)
    assert tokenizer.decode(tokenizer.encode("A cat on the street.")) == "A cat on the street."
