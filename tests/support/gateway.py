"""A whole service with its gateway, for tests that call it over HTTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx

from broker.embedded import EmbeddedBroker
from service.settings import Settings
from tests.support.free_port import free_port
from tests.support.quick_service import serving


@dataclass(frozen=True, slots=True)
class Gateway:
    """A service that listens.

    Attributes:
        url: `http://127.0.0.1:PORT`, without a slash at its end.
        client: Calls it, with paths like `/health`.
        settings: Of the service.
    """

    url: str
    client: httpx.AsyncClient
    settings: Settings


@asynccontextmanager
async def gateway(
    mosquitto: EmbeddedBroker,
    folder: Path,
    base: str,
    *,
    with_model: bool = False,
    pace_ms: float = 1.0,
    http: dict[str, Any] | None = None,
    **sections: Any,
) -> AsyncIterator[Gateway]:
    """Run a service with its gateway.

    Args:
        mosquitto: Its broker.
        folder: For its data; empty.
        base: Its base topic, of nobody else.
        with_model: The real engine with the demonstration model; else the quick one, whose caption
            is the SHA-256 of the picture.
        pace_ms: What a frame takes the quick one.
        http: Settings of the section.
        sections: Other sections of the settings.
    """
    (folder / "scratch").mkdir(parents=True)
    port = free_port()
    if with_model:
        sections["model"] = {"name": str(files("demo") / "model"), "dtype": "float32"}
    settings = Settings(
        mqtt={"port": mosquitto.port, "base_topic": base},
        data_dir=folder / "data",
        http={"enabled": True, "port": port, **(http or {})},
        **sections,
    )
    url = f"http://127.0.0.1:{port}"
    scratch = None if with_model else folder / "scratch"
    async with (
        serving(settings, scratch, pace_ms=pace_ms),
        httpx.AsyncClient(base_url=url, timeout=30) as client,
    ):
        yield Gateway(url, client, settings)
