"""The decision about the weights' format, for machines of every kind."""

from collections.abc import Mapping

import pytest
import torch

from engine.quantization import Host, Quantization, Sizes, choose_quantization, shortage
from moondream2.config import public_config

GIB = 1 << 30
#: Flags as torch names them.
ZEN_3 = {"avx2": True, "avx512_f": False, "architecture": "x86_64"}
N100 = {"avx2": True, "avx_vnni": True}
SAPPHIRE_RAPIDS = {"avx512_vnni": True, "avx512_bf16": True, "amx_bf16": True}
RASPBERRY_PI_5 = {"neon": True, "bf16": False}
GRAVITON_3 = {"neon": True, "bf16": True}

PUBLIC = Sizes.of(public_config())
SMALL = Sizes(1_800_000, 2_000_000, 600_000)


def host(
    features: Mapping[str, object] = ZEN_3,
    gib: float = 16,
    device: str = "cpu",
    *,
    has_int8: bool | None = None,
) -> Host:
    has_int8 = "neon" not in features if has_int8 is None else has_int8
    return Host(device, features, has_int8, int(gib * GIB))


@pytest.mark.parametrize(
    ("on", "dtype", "expected"),
    [
        (host(ZEN_3), "auto", "int8"),
        (host(ZEN_3, 64), "auto", "int8"),  # memory alone makes float32 no faster
        (host(ZEN_3, 2), "auto", "int8"),
        (host(N100, 8), "auto", "int8"),
        (host(SAPPHIRE_RAPIDS, 16), "auto", "none"),
        (host(SAPPHIRE_RAPIDS, 4.5), "auto", "none"),
        (host(SAPPHIRE_RAPIDS, 4), "auto", "int8"),
        (host(RASPBERRY_PI_5, 8), "auto", "none"),  # no kernels
        (host(GRAVITON_3, 4), "auto", "none"),
        (host(GRAVITON_3, 4, has_int8=True), "auto", "int8"),
        *((host(ZEN_3), dtype, "none") for dtype in ("float32", "bfloat16", "float16")),
        (host(ZEN_3, 2), "float32", "none"),
        (host(ZEN_3, 2, "cuda"), "auto", "none"),
        (host(ZEN_3, 2, "mps"), "auto", "none"),
    ],
)
def test_auto_follows_processor_memory_dtype_and_device(
    on: Host, dtype: str, expected: str
) -> None:
    assert choose_quantization("auto", dtype, on, PUBLIC) == expected


@pytest.mark.parametrize("on", [host(ZEN_3), host(ZEN_3, 0.01), host(SAPPHIRE_RAPIDS)])
def test_model_that_fits_in_caches_stays_exact(on: Host) -> None:
    assert choose_quantization("auto", "auto", on, SMALL) == "none"


@pytest.mark.parametrize("on", [host(ZEN_3), host(SAPPHIRE_RAPIDS, 4)])
def test_passes_that_are_compiled_have_full_weights(on: Host) -> None:
    """8-bit kernels cannot be compiled: the model would not load."""
    assert choose_quantization("auto", "auto", on, PUBLIC, is_compiled=True) == "none"


@pytest.mark.parametrize("dtype", ["auto", "float32"])
@pytest.mark.parametrize(
    ("wanted", "on"),
    [
        ("none", host(ZEN_3, 2)),
        ("int8", host(SAPPHIRE_RAPIDS, 64)),
        ("int8", host(device="cuda")),
        ("int4", host(device="cuda")),
    ],
)
def test_what_is_wanted_is_taken_as_said(wanted: Quantization, on: Host, dtype: str) -> None:
    assert choose_quantization(wanted, dtype, on, PUBLIC) == wanted


def test_needs_of_the_public_model_are_those_that_were_measured() -> None:
    """Resident: float32 7.4 to 7.9 GiB, 8 bits 2.5 to 3.0; bfloat16 4.3 GB while loading."""
    assert 7.4 < PUBLIC.needed("none", torch.float32) / GIB < 8.3
    assert 4.0 < PUBLIC.needed("none", torch.bfloat16) / GIB < 4.5
    assert 2.5 < PUBLIC.needed("int8", torch.float32) / GIB < 3.2


def test_shortage_names_the_smaller_format() -> None:
    said = shortage("none", torch.float32, host(gib=6), PUBLIC)
    assert said is not None
    assert said.startswith("needs about 8.")
    assert "6.0 GiB are available; model.quantization: int8 needs" in said


def test_shortage_of_the_smallest_format_suggests_none() -> None:
    for quantization, on in (("int8", host(gib=1)), ("none", host(RASPBERRY_PI_5, 1))):
        said = shortage(quantization, torch.float32, on, PUBLIC)
        assert said is not None
        assert said.endswith("1.0 GiB are available")


def test_shortage_is_not_said_where_memory_suffices_or_is_a_cards() -> None:
    assert shortage("none", torch.float32, host(gib=16), PUBLIC) is None
    assert shortage("int8", torch.float32, host(gib=4), PUBLIC) is None
    assert shortage("none", torch.bfloat16, host(gib=1, device="cuda"), PUBLIC) is None
