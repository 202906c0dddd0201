"""What would make a frame take less time, by what was measured when the model was loaded."""

from engine.protocol import Ready

_SLOW_S = 5.0  # below, a camera is answered while its motion lasts
_FEW_CROPS = 2


def ways_to_be_faster(ready: Ready) -> list[str]:
    """Settings to change; none where a frame is quick, or was not measured."""
    if ready.seconds_per_frame is None or ready.seconds_per_frame < _SLOW_S:
        return []
    ways = []
    # A CPU that computes in bfloat16 does so at least as fast.
    is_slow_format = ready.quantization == "none" and ready.dtype != "bfloat16"
    if ready.device == "cpu" and is_slow_format and ready.can_shrink:
        ways.append("model.quantization: int8")
    if ready.max_crops is None or ready.max_crops > _FEW_CROPS:
        ways.append(f"model.max_crops: {_FEW_CROPS}")
    return [*ways, "length: short"]
