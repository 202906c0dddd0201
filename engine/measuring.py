"""What a frame costs on this device, and how finely it is cut: settled before the first job."""

import logging
from dataclasses import dataclass

import torch
from PIL import Image

from moondream2.costs import CAPTION_TOKENS, FRAME, choose_max_crops, measure, num_crops
from moondream2.crops import prepare
from moondream2.generate import Engine
from moondream2.tasks import Caption, Finished, Request

logger = logging.getLogger(__name__)

_KEY = "measure"
_NUM_TOKENS = 8  # of the frame that is really answered


@dataclass(frozen=True, slots=True)
class Measured:
    """What an engine says of itself when it is ready."""

    max_crops: int  #: most local crops of a frame
    #: Of a 1280×720 frame cut so, with a caption of 40 tokens, that has the engine to itself;
    #: None: it could not be measured.
    seconds_per_frame: float | None


def settle(
    engine: Engine, wanted: int | None, target_s: float, *, may_choose: bool, in_units: bool
) -> Measured:
    """Measure, and choose how many crops a frame has; without a figure if measuring fails.

    Args:
        engine: Without work.
        wanted: Most local crops; None: what the model was made for, or what `target_s` allows.
        target_s: Seconds a frame may take.
        may_choose: Crops may be fewer for the sake of `target_s`.
        in_units: Work the seconds out from some units of a frame, instead of answering one: on a
            CPU, where nothing has to be compiled or recorded first.
    """
    config = engine.model.config.vision
    most = min(wanted or config.max_crops, config.max_crops)
    try:
        if not in_units:
            return Measured(most, _answer(engine, most))
        costs = measure(engine.model)
    except Exception:  # a figure is missing; the frames of cameras find out what is wrong
        logger.exception("what a frame takes cannot be measured")
        engine.cancel(_KEY)
        return Measured(most, None)
    if wanted is None and may_choose:
        most = choose_max_crops(costs, config, target_s)
    seconds = costs.frame_s(num_crops(config, most))
    logger.debug(
        "a crop takes %.2f s, the prefix %.2f s, a token %.3f s: %d crops at most, %.1f s a frame",
        *(costs.crop_s, costs.prefix_s, costs.token_s, most, seconds),
    )
    return Measured(most, seconds)


def _answer(engine: Engine, max_crops: int) -> float | None:
    """Answer a frame of noise and return the seconds that one with a whole caption takes."""
    height, width = FRAME
    pixels = torch.randint(256, (height, width, 3), dtype=torch.uint8)
    config = engine.model.config
    crops = prepare(Image.fromarray(pixels.numpy()), config.vision, max_crops)
    task = Caption(next(iter(config.prompts.caption)))
    engine.submit(Request(_KEY, (0.0,), crops, (task,), max_tokens=_NUM_TOKENS))
    while engine.has_work:
        for event in engine.step():
            if isinstance(event, Finished):
                times = event.timings
                later = times.total_seconds - times.first_token_seconds
                num_later = max(1, times.steps - 1)
                return times.first_token_seconds + (CAPTION_TOKENS - 1) * later / num_later
    return None
