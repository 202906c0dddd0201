import pytest
import torch

from moondream2.crops import prepare
from moondream2.staging import Staging, pin
from tests.support.generation import odd_model, picture

CPU = torch.device("cpu")


def test_frames_of_a_cpu_stay_as_they_are() -> None:
    crops = prepare(picture(), odd_model().config.vision)
    staging = Staging(CPU)
    assert pin(crops, CPU) is crops
    assert staging.send(crops) is crops
    staging.receive([crops])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_frame_arrives_whole_on_the_device() -> None:
    cuda = torch.device("cuda", 0)
    frames = [prepare(picture(seed), odd_model().config.vision) for seed in range(20)]
    pinned = [pin(crops, cuda) for crops in frames]
    assert all(crops.pixels.is_pinned() for crops in pinned)
    staging = Staging(cuda)
    sent = [staging.send(crops) for crops in pinned]
    staging.receive(sent)
    for crops, there in zip(frames, sent, strict=True):
        assert there.pixels.device == cuda
        assert torch.equal(there.pixels.cpu(), crops.pixels)
