"""The folder of the service, the disk below it, and the database; nothing is made or changed."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil

from service.commands.checks.finding import Finding
from service.data_dir import check_data_dir
from service.errors import ServiceError
from service.settings import Settings
from service.stages import store_location
from service.store.inspection import Found, inspect

_GIB = 1 << 30
_IN_MEMORY = {"tmpfs", "ramfs"}


def check_disk(settings: Settings) -> list[Finding]:
    """Whether the service may write there, and how much.

    Raises:
        ConfigurationError, StoreFullError: As the service would at its start.
    """
    check_data_dir(settings.data_dir)
    return list(_disk(settings))


def _disk(settings: Settings) -> Iterator[Finding]:
    folder = settings.data_dir.absolute()
    existing = next(path for path in (folder, *folder.parents) if os.path.exists(path))
    disk, store = shutil.disk_usage(existing), settings.store
    text = f"{folder}, {disk.free / _GIB:.1f} GiB free"
    if disk.free < store.min_free_bytes:
        yield Finding("disk", "TODO", f"{text}, less than store.min_free_bytes: make room")
        return
    yield Finding("disk", "ok", text)
    if store.url is None and disk.free < store.min_free_bytes + store.max_bytes:
        needed = (store.min_free_bytes + store.max_bytes) / _GIB
        yield Finding(
            "disk",
            "note",
            f"store.max_bytes lets it need {needed:.1f} GiB, more than is free: lower "
            "store.max_bytes, or make room",
        )
    if _file_system(existing) in _IN_MEMORY:
        yield Finding(
            "disk",
            "note",
            f"{folder} is in memory, and empty after a restart of the machine: set data_dir to a "
            "disk, if what waits shall survive that",
        )


def _file_system(folder: Path) -> str:
    mounted = {each.mountpoint: each.fstype for each in psutil.disk_partitions(all=True)}
    places = (str(each) for each in (folder.resolve(), *folder.resolve().parents))
    return next((mounted[each] for each in places if each in mounted), "")


async def check_store(settings: Settings) -> list[Finding]:
    """Whether the database can be opened."""
    try:
        found = await inspect(store_location(settings))
    except ServiceError as error:
        text = str(error)
        is_named = "store.url" in text or "data_dir" in text
        remedy = "" if is_named else ": see store.url, or data_dir without one"
        return [Finding("store", "TODO", f"{text}{remedy}")]
    if not found.is_in_use:
        return [Finding("store", "ok", _in_words(found))]
    text = f"{_in_words(found)}; a service runs on it: another one needs a data_dir of its own"
    return [Finding("store", "note", text)]


def _in_words(found: Found) -> str:
    if found.num_steps is None:
        return "made at the first start"
    if found.num_steps == 0:
        return "there, and of this version"
    return f"of an earlier version: the next start changes it in {found.num_steps} steps"
