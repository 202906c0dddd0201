"""Finding the files of a model: in a folder, in the hub's cache, or on the hub.

Data only: weights, dimensions and vocabulary. Code that a repository carries is never fetched, let
alone run. The vocabulary of the 2025-06-21 release comes from a repository of its own, because the
`tokenizer.json` beside its weights is an older one that yields wrong words without any error.
"""

import errno
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError is its base class
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    XetDownloadError,
)
from huggingface_hub.utils.tqdm import tqdm

from moondream2.config import (
    DEFAULT_REVISION,
    PUBLIC_REVISIONS,
    MoondreamConfig,
    TokenizerSource,
)
from moondream2.errors import DownloadError, ModelFileError

DEFAULT_MODEL = "vikhyatk/moondream2"

#: What `ModelFiles.revision` says for a folder.
LOCAL = "local"

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_CHUNK = 2**22

# The library's 10 MiB are a minute without a sign on a slow line; less than this is many calls.
constants.DOWNLOAD_CHUNK_SIZE = 2**18

#: Called while a file downloads: its name, bytes so far, bytes in all (0 while unknown).
Progress = Callable[[str, int, int], None]


class _AbsentFileError(DownloadError):
    """The repository does not have the file at all."""


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """Where the files of one model are on this machine."""

    #: Hub id or folder, as asked for.
    name: str
    #: Revision on the hub, `local` for a folder.
    revision: str
    #: Holds `config.json` and the weights.
    folder: Path
    tokenizer_file: Path
    #: Public release whose dimensions hold if `config.json` states none.
    release: str


@dataclass(frozen=True, slots=True)
class Hub:
    """How files are looked up; the defaults are those of huggingface_hub and its environment."""

    #: Fetch what the cache lacks.
    download: bool = False
    progress: Progress | None = None
    cache_dir: Path | None = None
    endpoint: str | None = None

    def file(self, repo: str, name: str, revision: str) -> Path:
        """Return the local path of a file, fetching it first if allowed and needed.

        An interrupted download is resumed. A fetched file is compared with the checksum that the
        hub states for it.

        Raises:
            DownloadError: The file is not in the cache and could not be fetched whole.
        """
        what = f"{repo} {revision} {name}"
        try:
            cached = try_to_load_from_cache(repo, name, cache_dir=self.cache_dir, revision=revision)
            if isinstance(cached, str):
                return Path(cached)
            if cached is not None and not self.download:  # the cache remembers absent files too
                raise _AbsentFileError(f"{what}: the repository has no such file")
            path = Path(
                hf_hub_download(
                    repo,
                    name,
                    revision=revision,
                    cache_dir=self.cache_dir,
                    endpoint=self.endpoint,
                    local_files_only=not self.download,
                    tqdm_class=_meter(name, self.progress),
                )
            )
        except RemoteEntryNotFoundError as exc:
            raise _AbsentFileError(f"{what}: the repository has no such file") from exc
        except (HTTPError, OSError, RuntimeError, HFValidationError, XetDownloadError) as exc:
            raise DownloadError(f"{what}: {self._reason(exc)}") from exc
        _verify(path)
        return path

    def _reason(self, exc: Exception) -> str:
        """Say in one line why a file could not be had, and what to do."""
        match exc:
            case GatedRepoError():
                return "access must be granted on the hub first; then set HF_TOKEN"
            case RepositoryNotFoundError():
                return (
                    "the hub has no such repository, or it is private: check model.name, or set "
                    "HF_TOKEN"
                )
            case RevisionNotFoundError():
                return "the repository has no such revision: check model.revision"
            case LocalEntryNotFoundError() | OfflineModeIsEnabled() if not self.download:
                return (
                    "not in the cache; fetch it with `moondream2mqtt download`, let requests do so "
                    "with model.allow_download, or set model.name to a folder"
                )
            case OfflineModeIsEnabled():
                return "HF_HUB_OFFLINE keeps it from being fetched: unset it"
            case LocalEntryNotFoundError() if isinstance(exc.__cause__, HfHubHTTPError):
                return self._reason(exc.__cause__)
            case HfHubHTTPError():
                return (
                    f"{self._where} answers {exc.response.status_code}; it may pass, otherwise "
                    "check HF_TOKEN and HF_ENDPOINT"
                )
            case LocalEntryNotFoundError():
                return (
                    f"{self._where} cannot be reached; download on a machine with network and copy "
                    "the cache (HF_HOME), or set model.name to a folder"
                )
            case HTTPError():
                return (
                    f"the connection to {self._where} broke off ({type(exc).__name__}); what has "
                    "come is kept"
                )
            case OSError() if exc.errno in {errno.ENOSPC, errno.EDQUOT}:
                return f"no room in the cache {self._cache}: free some, or set HF_HOME elsewhere"
            case OSError() if exc.errno is not None:
                return f"the cache {self._cache} cannot be used: {exc.strerror}; see HF_HOME"
        return f"{type(exc).__name__}: {exc}"

    @property
    def _where(self) -> str:
        return f"the hub {self.endpoint or constants.ENDPOINT}"

    @property
    def _cache(self) -> Path:
        return self.cache_dir or Path(constants.HF_HUB_CACHE)


def resolve(
    name: str = DEFAULT_MODEL, revision: str | None = None, *, hub: Hub | None = None
) -> ModelFiles:
    """Find the files of a model.

    Args:
        name: A folder, or the id of a repository on the hub.
        revision: Tag, branch or commit on the hub. For `vikhyatk/moondream2` None is 2025-06-21,
            elsewhere `main`. In a folder without dimensions of its own, the release it holds.
        hub: How to look up what is not in a folder; None uses the cache only.

    Raises:
        DownloadError: A file is neither in the cache nor could it be fetched.
        ModelFileError: The folder does not exist or is no model, or the name is no hub id.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _in_folder(name, folder, revision, hub or Hub())
    if not _HUB_ID.fullmatch(name):
        raise ModelFileError(f"model {name}: no such folder, and not an id like {DEFAULT_MODEL}")
    return _on_hub(name, revision, hub or Hub())


def _in_folder(name: str, folder: Path, revision: str | None, hub: Hub) -> ModelFiles:
    release = _release(revision, folder.name)
    source = MoondreamConfig.from_folder(folder, revision=release).tokenizer
    own = folder / "tokenizer.json"
    if source is None:
        if not own.is_file():
            raise ModelFileError(f"{own}: no such file")
        return ModelFiles(name, LOCAL, folder, own, release)
    if own.is_file() and source.entries in (None, _entries(own)):
        return ModelFiles(name, LOCAL, folder, own, release)
    return ModelFiles(name, LOCAL, folder, _tokenizer(source, hub), release)


def _on_hub(name: str, revision: str | None, hub: Hub) -> ModelFiles:
    chosen = revision or (DEFAULT_REVISION if name == DEFAULT_MODEL else "main")
    release = _release(chosen, name)
    try:
        folder = hub.file(name, "config.json", chosen).parent
    except _AbsentFileError as exc:
        raise ModelFileError(f"{name} {chosen}: has no config.json") from exc
    source = MoondreamConfig.from_folder(folder, revision=release).tokenizer
    # The small file first: a missing vocabulary shows before gigabytes of weights are fetched.
    tokenizer = _tokenizer(source or TokenizerSource(name, chosen), hub)
    _weights(name, chosen, hub)
    return ModelFiles(name, chosen, folder, tokenizer, release)


def _tokenizer(source: TokenizerSource, hub: Hub) -> Path:
    try:
        return hub.file(source.repo, "tokenizer.json", source.revision)
    except _AbsentFileError as exc:
        raise ModelFileError(f"{source.repo} {source.revision}: has no tokenizer.json") from exc


def _weights(name: str, revision: str, hub: Hub) -> None:
    """Have the weights in the cache: one file, or an index and its shards."""
    try:
        hub.file(name, "model.safetensors", revision)
        return
    except _AbsentFileError:
        pass  # published in shards, or not at all
    try:
        index = hub.file(name, "model.safetensors.index.json", revision)
        shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        for shard in sorted(Path(shard).name for shard in shards):  # no paths out of the snapshot
            hub.file(name, shard, revision)
    except _AbsentFileError as exc:
        raise ModelFileError(f"{name} {revision}: has no weights as safetensors") from exc
    except (ValueError, KeyError, AttributeError, TypeError) as exc:
        raise ModelFileError(f"{name} {revision}: its index of shards is damaged") from exc


def _release(revision: str | None, name: str) -> str:
    """Tell the public release from a revision or, failing that, from a name with its date."""
    for text in (revision or "", name):
        for release in PUBLIC_REVISIONS:
            if release in text:
                return release
    return DEFAULT_REVISION


def _entries(path: Path) -> int:
    """Count the ids of a vocabulary file."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        ids = set(data["model"]["vocab"].values())
        return len(ids | {token["id"] for token in data.get("added_tokens", ())})
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as exc:
        raise ModelFileError(f"{path}: not a tokenizer file: {exc}") from exc


def _meter(name: str, progress: Progress | None) -> type[Any]:
    """Return a progress bar class that draws nothing and reports to a callback."""

    class Meter(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "disable": True})  # type: ignore[no-untyped-call]
            self.n = kwargs.get("initial") or 0
            self.total = kwargs.get("total")
            self.num_transferred = self.n

        def update(self, n: float | None = 1) -> None:
            self.n += int(n or 0)
            self._tell()

        # With these two, one bar serves both counts of a transfer in chunks (Xet): what has come,
        # and what stands in the file, which is much later.

        def update_transfer(self, n: float) -> None:
            self.num_transferred += int(n)
            self._tell()

        def set_transfer_postfix_str(self, s: str = "", refresh: bool = True) -> None:
            pass

        def _tell(self) -> None:
            if progress is not None:
                total, here = int(self.total or 0), max(self.n, self.num_transferred)
                progress(name, min(here, total) if total else here, total)

    return Meter


def _verify(path: Path) -> None:
    """Compare a fetched file with its checksum, and remove it if they differ.

    The cache names a file's content by the checksum that the hub stated: SHA-256 for large files,
    git's SHA-1 for small ones. Where the cache holds plain copies there is nothing to compare.
    """
    blob = path.resolve()
    if re.fullmatch(r"[0-9a-f]{64}", blob.name):
        digest = hashlib.sha256()
    elif re.fullmatch(r"[0-9a-f]{40}", blob.name):
        digest = hashlib.sha1(b"blob %d\0" % blob.stat().st_size, usedforsecurity=False)
    else:
        return
    with blob.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != blob.name:
        path.unlink()
        blob.unlink()
        raise DownloadError(f"{path.name}: damaged on the way, removed; download it again")
