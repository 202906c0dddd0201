"""The configured model, loaded by the engine process as `serve` would, and how fast it is here."""

from collections.abc import Callable

from engine.images import ImageLimits
from engine.protocol import LoadFailed, Loading, ModelOptions, Ready
from service.commands.checks.finding import Finding
from service.engines.devices import engine_options
from service.engines.process import EngineProcess, Lost
from service.engines.speed import ways_to_be_faster
from service.errors import EngineError
from service.settings import Settings

Start = Callable[..., EngineProcess]


async def measure(
    settings: Settings, tell: Callable[[str], None], start: Start = EngineProcess
) -> list[Finding]:
    """Load the model on each device, one after another.

    Args:
        settings: Which model, and how.
        tell: Is told what it is doing.
        start: Makes an engine; for tests.
    """
    return [await _measure(each, settings, tell, start) for each in engine_options(settings.model)]


async def _measure(
    options: ModelOptions, settings: Settings, tell: Callable[[str], None], start: Start
) -> Finding:
    engine = start(
        options,
        image_limits=ImageLimits(**settings.frames.model_dump()),
        load_timeout=settings.model.load_timeout,
        step_timeout=settings.model.step_timeout,
    )
    async with engine:
        try:
            ready = await _wait(engine, tell)
        except EngineError as error:
            text = f"{options.device}: {error}; see model.name, model.device and the lines above"
            return Finding("speed", "TODO", text)
    ways = ways_to_be_faster(ready)
    text = _in_words(ready) + (f"; faster with {', or '.join(ways)}" if ways else "")
    return Finding("speed", "note" if ways else "ok", text)


async def _wait(engine: EngineProcess, tell: Callable[[str], None]) -> Ready:
    """Until it is loaded.

    Raises:
        EngineError: It cannot be. Not tried again: the operator waits.
    """
    while True:
        event = await engine.events.get()
        if isinstance(event, Ready):
            return event
        if isinstance(event, Loading):
            tell(event.message)
        elif isinstance(event, LoadFailed):
            raise EngineError(event.code, event.message)
        elif isinstance(event, Lost):
            raise EngineError("engine_lost", event.message)


def _in_words(ready: Ready) -> str:
    memory = f"{ready.ram_mb / 1024:.1f} GiB of memory"
    if ready.vram_mb:
        memory += f" and {ready.vram_mb / 1024:.1f} GiB of the GPU's"
    form = ready.dtype if ready.quantization == "none" else ready.quantization
    took, frame = ready.seconds_per_frame, "frame of 1280 x 720 with a caption"
    speed = f"no {frame} was measured" if took is None else f"{took:.2g} s a {frame}"
    return f"{ready.device} in {form}: loaded in {ready.load_seconds:.1f} s, {memory}, {speed}"
