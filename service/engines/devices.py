"""Which engines to run: one per device named in the settings."""

from engine.protocol import ModelOptions
from service.settings import ModelSettings


def engine_options(settings: ModelSettings) -> list[ModelOptions]:
    """The options of each engine; `auto` is settled by the engine, which alone can ask torch."""
    devices = settings.device if isinstance(settings.device, tuple) else (settings.device,)
    return [
        ModelOptions(
            name=settings.name,
            revision=settings.revision,
            device=device,
            dtype=settings.dtype,
            max_crops=settings.max_crops,
            slots=settings.slots,
            threads=settings.threads,
            compile=settings.compile,
            quantization=settings.quantization,
            target_seconds=settings.target_seconds,
        )
        for device in devices
    ]
