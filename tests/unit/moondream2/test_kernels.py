from collections.abc import Iterator

import pytest
import torch

from moondream2.kernels import choose_attention_kernels
from tests.support.generation import answers, odd_engine, odd_model, request, run


@pytest.fixture(autouse=True)
def kernels_as_before() -> Iterator[None]:
    yield
    torch.backends.cuda.enable_cudnn_sdp(True)


@pytest.mark.parametrize(("device", "is_allowed"), [("cuda:1", False), ("cpu", True)])
def test_attention_that_plans_each_shape_is_left_out_on_cuda(device: str, is_allowed: bool) -> None:
    choose_attention_kernels(torch.device(device))
    assert torch.backends.cuda.cudnn_sdp_enabled() is is_allowed  # type: ignore[no-untyped-call]
    assert torch.backends.cuda.flash_sdp_enabled()  # type: ignore[no-untyped-call]
    assert torch.backends.cuda.mem_efficient_sdp_enabled()  # type: ignore[no-untyped-call]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_engine_on_cuda_leaves_it_out() -> None:
    model = odd_model().to("cuda")
    assert answers(run(odd_engine(model), [request(model)]))
    assert not torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]
