"""`doctor`: each part of a set-up, with what to do where it would not work.

What needs the model package or torch is asked of a child, because this process never loads them.
"""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from broker.topics import Topics
from schemas.status import Health
from service.commands.client import connect, connect_newest, retained
from service.commands.frigate_check import check_frigate
from service.commands.options import CommonOptions, talks_to_broker
from service.commands.trigger_check import check_triggers
from service.engines.child import child_environment
from service.errors import ConfigurationError, ServiceError
from service.settings import MqttSettings, Settings

_CHILD_S = 300.0  # importing torch from a cold, slow disk
_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    part: str
    is_ok: bool
    text: str


@talks_to_broker
def run(
    common: CommonOptions,
    running: Annotated[
        bool,
        typer.Option(
            "--running",
            help="Only ask the broker whether the service is online and can do its job; for "
            "health checks.",
        ),
    ] = False,
) -> None:
    """Check configuration, broker, model, device, disk, Frigate and the pictures of triggers.

    One line for each: ok, or what to do. Exits 1 where something is to be done.
    """
    try:
        settings = common.settings(is_silent=True)
    except ConfigurationError as error:
        _print(Finding("configuration", False, str(error)))
        raise typer.Exit(2) from error
    if not asyncio.run(_report(settings, common.file(), running)):
        raise typer.Exit(1)


async def _report(settings: Settings, config: Path | None, running: bool) -> bool:
    checks = _check_running(settings.mqtt) if running else _check_all(settings, config)
    is_ok = True
    async for finding in checks:
        _print(finding)
        is_ok &= finding.is_ok
    return is_ok


def _print(finding: Finding) -> None:
    typer.echo(f"{'ok  ' if finding.is_ok else 'TODO'} {finding.part}: {finding.text}")


async def _check_all(settings: Settings, config: Path | None) -> AsyncIterator[Finding]:
    yield Finding("configuration", True, str(config) if config else "no file, defaults hold")
    yield await _check_broker(settings.mqtt)
    yield await _check_model(settings)
    yield await _check_device(settings)
    yield _check_disk(settings)
    if (frigate := await check_frigate(settings)) is not None:
        yield Finding("frigate", *frigate)
    for part, is_ok, text in await check_triggers(settings):
        yield Finding(part, is_ok, text)


async def _check_broker(mqtt: MqttSettings) -> Finding:
    where = f"{mqtt.host}:{mqtt.port}"
    try:
        async with connect_newest(mqtt) as (client, is_5):
            program = await retained(client, "$SYS/broker/version")
    except ServiceError as error:
        return Finding("broker", False, str(error).removeprefix("broker "))
    protocol = "5" if is_5 else "3.1.1"
    return Finding("broker", True, f"{where}, MQTT {protocol}" + (program and f", {program}"))


async def _check_running(mqtt: MqttSettings) -> AsyncIterator[Finding]:
    topics = Topics(mqtt.base_topic)
    try:
        async with connect(mqtt) as client:
            state = await retained(client, topics.bridge("state"))
            said = await retained(client, topics.bridge("health")) if state == "online" else ""
    except ServiceError as error:
        yield Finding("service", False, str(error))
        return
    yield Finding("service", state == "online", state or "has never run on this broker")
    if said:
        yield _judge(said)


def _judge(said: str) -> Finding:
    """What `bridge/health` says; a part that limps is named and is no reason to fail."""
    try:
        health = Health.model_validate_json(said)
    except ValidationError:
        return Finding("health", False, "bridge/health cannot be read; is it another version?")
    ill = [
        f"{name} {check.status}: {check.message}"
        for name, check in health.checks.items()
        if check.status != "healthy"
    ]
    return Finding("health", health.status != "unhealthy", "; ".join(ill) or health.status)


async def _check_model(settings: Settings) -> Finding:
    model = settings.model
    try:
        folder = await _ask("engine.download", model.name, model.revision, "--offline")
    except ServiceError as error:
        return Finding("model", False, str(error))
    return Finding("model", True, f"{model.name}, files in {folder}")


async def _check_device(settings: Settings) -> Finding:
    try:
        found = json.loads(await _ask("engine.probe"))
    except ServiceError as error:
        return Finding("device", False, f"torch cannot be loaded: {error}")
    gpus = [
        f"cuda:{number} {gpu['name']}, {gpu['free'] / _GIB:.1f} GiB free"
        for number, gpu in enumerate(found["cuda"])
    ]
    wanted = settings.model.device
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    highest = max((_index(name) for name in names), default=-1)
    if highest >= len(gpus):
        return Finding(
            "device",
            False,
            f"model.device is {', '.join(names)}, torch {found['torch']} sees {len(gpus)} GPUs; "
            "install a PyTorch built for your driver, or set model.device to auto",
        )
    text = "; ".join(gpus) or f"no GPU, the CPU with {found['threads']} threads: slow"
    return Finding("device", True, f"{text} (torch {found['torch']})")


def _index(device: str) -> int:
    """Number of the GPU that a device name asks for, -1 for none."""
    if not device.startswith("cuda"):
        return -1
    number = device.partition(":")[2]
    return int(number) if number.isdigit() else 0


def _check_disk(settings: Settings) -> Finding:
    folder = settings.data_dir.absolute()
    # os.path: a folder that may not be looked into counts as missing, and its parent decides.
    existing = next(path for path in (folder, *folder.parents) if os.path.exists(path))
    if not existing.is_dir():
        return Finding("disk", False, f"{existing} is a file, not a folder; set data_dir")
    if not os.access(existing, os.W_OK | os.X_OK):
        return Finding("disk", False, f"{existing} cannot be written; set data_dir")
    free = shutil.disk_usage(existing).free
    needed = settings.store.min_free_bytes + settings.store.max_bytes
    text = f"{folder}, {free / _GIB:.1f} GiB free"
    if free < settings.store.min_free_bytes:
        return Finding("disk", False, f"{text}, less than store.min_free_bytes: make room")
    if free < needed:
        text += f" (with store.max_bytes it may need {needed / _GIB:.1f})"
    return Finding("disk", True, text)


async def _ask(module: str, *arguments: str) -> str:
    """Run one of our own modules in a child and return what it prints.

    Raises:
        ServiceError: It failed; the message is its last line on stderr.
    """
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=child_environment(),
    )
    try:
        async with asyncio.timeout(_CHILD_S):
            output, errors = await child.communicate()
    except TimeoutError as error:
        child.kill()
        await child.wait()
        raise ServiceError(f"{module} gave no answer within {_CHILD_S:g} s") from error
    if child.returncode:
        last = errors.decode(errors="replace").strip().splitlines()[-1:]
        raise ServiceError(last[0].removeprefix("moondream2mqtt: ") if last else "no reason given")
    return output.decode(errors="replace").strip()
