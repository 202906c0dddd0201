import math

import pytest
import torch
from torch import Tensor

from moondream2.region import Region
from moondream2.text import attend_with
from tests.support.checkpoints import (
    assert_near,
    random_model,
    reference_model,
    reference_record,
    reference_tensors,
    shape,
)
from tests.unit.moondream2.test_text import prefix_mask


def _last_hidden(index: int, ids: list[int], fed: list[Tensor]) -> Tensor:
    """Hidden state after a prompt and the coordinate or size embeddings that follow it."""
    model = reference_model()
    start = model.prefix_embeddings(reference_tensors()[f"img{index}.image_embeds"][None])
    x = torch.cat((start, model.text.embed(torch.tensor([ids])), *(f[None] for f in fed)), dim=1)
    positions = torch.arange(x.shape[1])[None]
    mask = attend_with(prefix_mask(x.shape[1], start.shape[1]))
    hidden: Tensor = model.text(x, positions, mask)[:, -1]
    return hidden


@pytest.mark.parametrize("skill", ["detect", "point"])
@pytest.mark.parametrize("index", range(6))
def test_logits_of_first_recorded_object_equal_the_reference(index: int, skill: str) -> None:
    region, expected = reference_model().region, reference_tensors()
    record = reference_record()["images"][index][skill]
    logits: list[Tensor] = []
    bins: list[Tensor] = []
    fed: list[Tensor] = []
    for _ in ("x", "y"):
        hidden = _last_hidden(index, record["prompt_ids"], fed)
        logits.append(region.coordinate_logits(hidden)[0])
        bins.append(logits[-1].argmax())
        fed.append(region.encode_coordinate(region.coordinate_value(bins[-1]).view(1, 1)))
    assert_near(torch.stack(logits), expected[f"img{index}.{skill}.coord_logits"])
    assert [int(bin_) for bin_ in bins] == record["coord_bins"][:2]
    if skill == "detect":
        sizes = region.size_logits(_last_hidden(index, record["prompt_ids"], fed))[0]
        assert_near(sizes, expected[f"img{index}.detect.size_logits"])
        assert sizes.argmax(-1).tolist() == record["size_bins"][0]


def test_values_of_recorded_bins_give_the_recorded_boxes() -> None:
    region = reference_model().region
    for record in (image["detect"] for image in reference_record()["images"]):
        centres = region.coordinate_value(torch.tensor(record["coord_bins"])).view(-1, 2)
        sizes = region.size_value(torch.tensor(record["size_bins"]))
        for found, (x, y), (w, h) in zip(
            record["objects"], centres.tolist(), sizes.tolist(), strict=True
        ):
            box = {"x_min": x - w / 2, "y_min": y - h / 2, "x_max": x + w / 2, "y_max": y + h / 2}
            assert box == pytest.approx(found, abs=1e-9)


@pytest.mark.parametrize("mapping", ["log", "linear"])
def test_size_bin_inverts_size_value(mapping: str) -> None:
    region = random_model(shape(region={"size_mapping": mapping})).region
    bins = torch.arange(32)
    assert torch.equal(region.size_bin(region.size_value(bins)), bins)
    assert region.size_bin(torch.tensor([0.0, 2.0])).tolist() == [0, 31]


def test_coordinate_bin_inverts_coordinate_value() -> None:
    region = random_model().region
    bins = torch.arange(64)
    assert torch.equal(region.coordinate_bin(region.coordinate_value(bins)), bins)
    assert region.coordinate_bin(torch.tensor([-1.0, 1.0])).tolist() == [0, 63]


def test_size_value_spans_ten_octaves_or_is_linear() -> None:
    log = random_model().region.size_value(torch.tensor([0, 31]))
    assert log.tolist() == [2**-10, 1.0]
    linear = random_model(shape(region={"size_mapping": "linear"})).region
    assert linear.size_value(torch.tensor([0, 8, 31])).tolist() == [0.0, 8 / 32, 31 / 32]


def _naive(region: Region, name: str, values: list[float]) -> Tensor:
    weights = dict(region.named_parameters())
    features = weights[f"{name}_features"]
    phases = [
        sum(
            2 * math.pi * value * float(row[f]) for value, row in zip(values, features, strict=True)
        )
        for f in range(features.shape[1])
    ]
    waves = torch.tensor([math.cos(p) for p in phases] + [math.sin(p) for p in phases])
    return waves @ weights[f"{name}_encoder.weight"].T + weights[f"{name}_encoder.bias"]


def test_encoders_equal_naive_fourier_features() -> None:
    region = random_model().region
    coordinate, size = torch.tensor([[0.3], [0.9]]), torch.tensor([[0.25, 0.75]])
    assert_near(region.encode_coordinate(coordinate)[1], _naive(region, "coord", [0.9]))
    assert_near(region.encode_size(size)[0], _naive(region, "size", [0.25, 0.75]))


def test_phases_under_autocast_keep_full_precision() -> None:
    region = random_model().region
    region.coord_features.mul_(20)  # phases of many turns, where bfloat16 would lose all digits
    values = torch.rand(8, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        short = region.encode_coordinate(values)
    assert_near(short.float(), region.encode_coordinate(values), bound=0.02)


def test_decoders_of_a_batch_have_the_documented_shapes() -> None:
    region = random_model().region
    hidden = torch.randn(3, 48)
    assert region.coordinate_logits(hidden).shape == (3, 64)
    assert region.size_logits(hidden).shape == (3, 2, 32)
    assert_near(region.size_logits(hidden)[1], region.size_logits(hidden[1:2])[0], bound=2e-6)
