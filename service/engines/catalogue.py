"""Models on this machine: what the Hugging Face cache and the operator's folders hold.

Folders are read and nothing else: no network, and no library of the model's, which would load
torch. The cache's layout is documented by huggingface_hub: `models--<owner>--<name>` with
`refs/<tag or branch>`, which hold a commit, and `snapshots/<commit>/<file>`. A model is what has
dimensions and weights as safetensors; half a download has a link that leads nowhere.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from service.settings import ModelSettings

LOCAL = "local"  #: revision of a folder, as the engine calls it

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_MOST_FOLDERS = 1000  # looked at, of each kind
_MOST_FILES = 1000  # of one model


@dataclass(frozen=True, slots=True)
class Available:
    """A model that can be loaded without a download."""

    model: str  #: hub id or folder
    revision: str
    num_bytes: int


def available(settings: ModelSettings) -> list[Available]:
    """What can be loaded without a download; reads folders, so not on the event loop."""
    own = Path(settings.name).expanduser()
    folders = [each.expanduser() for each in settings.folders]
    return [*in_cache(hub_cache()), *in_folders([*folders, *([own] if own.is_dir() else [])])]


def is_hub_id(name: str) -> bool:
    """Whether a text has the form `owner/name`."""
    return _HUB_ID.fullmatch(name) is not None


def hub_cache(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the engine looks for downloads; the variables are huggingface_hub's."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if environment.get(name):
            return Path(environment[name]).expanduser()
    above = environment.get("XDG_CACHE_HOME") or "~/.cache"
    home = environment.get("HF_HOME") or f"{above}/huggingface"
    return Path(home, "hub").expanduser()


def in_cache(cache: Path) -> list[Available]:
    """What has been downloaded, by name and revision: tags and branches, else the commit."""
    found: list[Available] = []
    for folder in _folders_in(cache):
        name = folder.name.removeprefix("models--").replace("--", "/", 1)
        if folder.name.startswith("models--") and is_hub_id(name):
            found += _revisions(folder, name)
    return found


def in_folders(folders: Iterable[Path]) -> list[Available]:
    """Models that are a folder of these, or stand directly in one."""
    found: dict[str, Available] = {}
    for folder in folders:
        for each in (folder, *_folders_in(folder)):
            if num_bytes := _size(each):
                found[str(each)] = Available(str(each), LOCAL, num_bytes)
    return list(found.values())


def _revisions(folder: Path, name: str) -> Iterator[Available]:
    names = _refs(folder / "refs")
    for snapshot in _folders_in(folder / "snapshots"):
        if num_bytes := _size(snapshot):
            for revision in names.get(snapshot.name, [snapshot.name]):
                yield Available(name, revision, num_bytes)


def _refs(folder: Path) -> dict[str, list[str]]:
    """Tags and branches, by commit; a name may have a slash in it."""
    found: dict[str, list[str]] = {}
    with suppress(OSError):
        for file in islice(sorted(folder.rglob("*")), _MOST_FILES):
            with suppress(OSError, UnicodeDecodeError):
                if file.is_file() and file.stat().st_size <= 64:
                    commit = file.read_text(encoding="ascii").strip()
                    if _COMMIT.fullmatch(commit):
                        found.setdefault(commit, []).append(str(file.relative_to(folder)))
    return found


def _size(folder: Path) -> int:
    """Bytes of a model's files; 0 for what is no model, or only half of one."""
    try:
        sizes = {
            file.name: file.stat().st_size
            for file in islice(folder.iterdir(), _MOST_FILES)
            if file.suffix in {".json", ".safetensors"}
        }
    except OSError:  # among others a link that leads nowhere
        return 0
    has_weights = any(name.endswith(".safetensors") for name in sizes)
    return sum(sizes.values()) if has_weights and "config.json" in sizes else 0


def _folders_in(folder: Path) -> list[Path]:
    """In alphabetical order; none where it cannot be read."""
    try:
        inside = sorted(islice(folder.iterdir(), _MOST_FOLDERS))
        return [each for each in inside if each.is_dir()]
    except OSError:
        return []
